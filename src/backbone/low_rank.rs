//! Low-rank adapters (LoRA, Hu et al. 2021) as data: target modules, rank, and parameters. Names are those that PEFT
//! (0.21) gives the parameters of a module in memory.

use serde::Serialize;

use super::spec::{Init, Owner, Spec};
use crate::error::{Error, Result};

/// A set of adapters, under one name, for some linear layers of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LowRank {
    /// The adapter name that appears in the parameter names.
    pub name: String,
    /// `r`
    pub rank: usize,
    pub alpha: f64,
    /// Names or name endings of the adapted modules: `query`, or `attention.self.query`.
    pub targets: Vec<String>,
}

impl LowRank {
    /// The parameters to add to a backbone with these specs: `A` random, `B` zero, so that outputs are unchanged at
    /// first.
    ///
    /// # Errors
    /// `Error::Value` if the rank is 0, or a target is no linear layer of this backbone.
    pub fn specs(&self, backbone: &[Spec]) -> Result<Vec<Spec>> {
        if self.targets.is_empty() {
            return Err(Error::Value(format!("adapter {:?} has no targets", self.name)));
        }
        if self.rank == 0 || !self.alpha.is_finite() {
            let (rank, alpha) = (self.rank, self.alpha);
            return Err(Error::Value(format!("rank={rank}, alpha={alpha}: expected at least 1, and a finite number")));
        }
        let maps: Vec<(String, [usize; 2])> =
            backbone.iter().filter_map(|spec| Some((module(&spec.name).to_string(), spec.map?))).collect();
        if let Some(unknown) = self.targets.iter().find(|target| !maps.iter().any(|(map, _)| is_on(target, map))) {
            let first = maps.iter().map(|(map, _)| map.as_str()).take(8).collect::<Vec<_>>().join(", ");
            return Err(Error::Value(format!("targets: this backbone has no map {unknown:?}; it has {first}, ...")));
        }
        let adapted = maps.iter().filter(|(map, _)| self.targets.iter().any(|target| is_on(target, map)));
        let owner = Owner::Adapter(self.name.as_str().into());
        let specs = adapted.flat_map(|(map, [n_out, n_in])| {
            let [a, b] = self.names(map);
            // The variance of PEFT's uniform distribution between -1 / sqrt(K) and 1 / sqrt(K).
            let init = Init::Normal(1.0 / (3.0 * *n_in as f64).sqrt());
            [Spec::new(a, &[self.rank, *n_in], init), Spec::new(b, &[*n_out, self.rank], Init::Zeros)]
        });
        Ok(specs.map(|spec| spec.of(&owner)).collect())
    }

    /// The names of the adapter's `A` and `B` for a weight.
    pub(super) fn names_on(&self, weight: &str) -> [String; 2] {
        self.names(module(weight))
    }

    fn names(&self, module: &str) -> [String; 2] {
        ["A", "B"].map(|part| format!("{module}.lora_{part}.{}.weight", self.name))
    }
}

/// The module that a weight belongs to.
fn module(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}

fn is_on(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
