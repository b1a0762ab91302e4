//! Low-rank adapters (LoRA, Hu et al. 2021): a map `W x + b` becomes `W x + b + alpha / r * B (A x)`, with `A [r, K]` and
//! `B [N, r]`. Names are those that PEFT (0.21) gives the parameters of a module in memory.

use std::sync::Arc;

use serde::Serialize;

use super::config::Config;
use super::parameters::{Init, Owner, Parameters, Spec};
use super::pretrained::Backbone;
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::ops::affine::Affine;
use crate::ops::linear::{Then, linear};
use crate::ops::scaled_sum::scaled_sum;
use crate::product::Format;

/// Adapters of one name on some maps of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LowRank {
    pub name: String,
    /// `r`
    pub rank: usize,
    pub alpha: f64,
    /// What the names of the adapted maps are or end with: `query`, or `attention.self.query`.
    pub targets: Vec<String>,
}

impl LowRank {
    /// The parameters that are added to a backbone: `A` random, `B` zero, so that at first nothing changes.
    ///
    /// # Errors
    /// `Error::Value` if the rank is 0, or a target is no map of this backbone.
    pub fn specs(&self, config: &Config) -> Result<Vec<Spec>> {
        if self.rank == 0 || !self.alpha.is_finite() {
            let (rank, alpha) = (self.rank, self.alpha);
            return Err(Error::Value(format!("rank={rank}, alpha={alpha}: expected at least 1, and a finite number")));
        }
        let maps: Vec<(String, [usize; 2])> = Backbone::specs(config)
            .into_iter()
            .filter_map(|spec| Some((module(&spec.name).to_string(), spec.map?)))
            .collect();
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

    fn names(&self, module: &str) -> [String; 2] {
        ["A", "B"].map(|part| format!("{module}.lora_{part}.{}.weight", self.name))
    }
}

/// The module that a weight is of.
fn module(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}

fn is_on(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// An adapter of one map.
pub(super) struct Adapter {
    a: Affine,
    b: Affine,
    scale: f32,
}

impl Adapter {
    /// Those of the map of a weight, or of the outputs in `range` where the weight holds several maps.
    pub fn load(params: &Parameters, weight: &str, range: &std::ops::Range<usize>) -> Result<Vec<Self>> {
        let names = params.adapters().iter().map(|adapter| (adapter, adapter.names(module(weight))));
        let there = names.filter(|(_, [a, _])| params.get(a).is_ok());
        let load = |(adapter, [a, b]): (&Arc<LowRank>, [String; 2])| {
            Ok(Self {
                a: Affine::new(params.value(&a)?, None)?,
                b: Affine::new(params.value(&b)?, None)?.outputs(range.clone())?,
                scale: (adapter.alpha / adapter.rank as f64) as f32,
            })
        };
        there.map(load).collect()
    }

    /// `y + scale * B (A x)`.
    pub fn add_to(&self, y: &Value, x: &Value, format: Format) -> Result<Value> {
        let low = linear(x, &self.a, Then::Nothing, format)?;
        scaled_sum(y, &linear(&low, &self.b, Then::Nothing, format)?, self.scale, format.result)
    }
}
