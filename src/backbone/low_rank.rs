//! Low-rank adapters (LoRA, Hu et al. 2021) as data: for which linear layers, of which ranks, with which parameters.
//! Names are those that PEFT (0.21) gives the parameters of a module in memory.

use std::collections::BTreeMap;

use super::spec::{Init, Owner, Spec};
use crate::error::{Error, Result};

/// A set of adapters, under one name, for some linear layers of a backbone.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// The adapter name that appears in the parameter names.
    pub name: String,
    /// Whether scales are `alpha / sqrt(r)` instead of `alpha / r`.
    pub rslora: bool,
    /// The adapted modules by name.
    pub maps: BTreeMap<String, AdaptedMap>,
}

/// The adapter of one linear layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptedMap {
    /// `r`
    pub rank: usize,
    pub alpha: f64,
}

impl LowRank {
    /// The parameters to add to a backbone with these specs: `A` random, `B` zero, so that outputs are unchanged at
    /// first.
    ///
    /// # Errors
    /// `Error::Value` if this backbone has no such linear layer.
    pub fn specs(&self, backbone: &[Spec]) -> Result<Vec<Spec>> {
        let sizes: BTreeMap<&str, [usize; 2]> =
            backbone.iter().filter_map(|spec| Some((module(&spec.name), spec.map?))).collect();
        let owner = Owner::Adapter(self.name.as_str().into());
        let mut specs = Vec::new();
        for (map, AdaptedMap { rank, .. }) in &self.maps {
            let [n_out, n_in] = *sizes.get(map.as_str()).ok_or_else(|| {
                Error::Value(format!("adapter {:?}: this backbone has no linear layer {map:?}", self.name))
            })?;
            let [a, b] = self.names(map);
            let init = Init::Uniform(1.0 / (n_in as f64).sqrt());
            specs.push(Spec::new(a, &[*rank, n_in], init).of(&owner));
            specs.push(Spec::new(b, &[n_out, *rank], Init::Zeros).of(&owner));
        }
        Ok(specs)
    }

    /// The names of `A` and `B` for a weight, and the factor on their product; None if the weight has no adapter.
    pub(super) fn on(&self, weight: &str) -> Option<([String; 2], f64)> {
        let AdaptedMap { rank, alpha } = *self.maps.get(module(weight))?;
        let rank = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        Some((self.names(module(weight)), alpha / rank))
    }

    fn names(&self, module: &str) -> [String; 2] {
        ["A", "B"].map(|part| format!("{module}.lora_{part}.{}.weight", self.name))
    }
}

/// The module that a weight belongs to.
pub(super) fn module(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}

/// True if `target` is the module's name or ends it.
pub(super) fn is_on(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
