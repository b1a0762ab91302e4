//! Low-rank adapters as data: for which linear layers, of which ranks, with which parameters. Names are those that PEFT
//! (0.21) gives the parameters of a module in memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Init, Owner, Spec};
use crate::error::{Error, Result};

/// A set of adapters, under one name, for some linear layers of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LowRank {
    /// The adapter name that appears in the parameter names.
    pub name: String,
    pub kind: Kind,
    /// Whether scales are `alpha / sqrt(r)` instead of `alpha / r`.
    pub rslora: bool,
    /// The adapted modules by name.
    pub maps: BTreeMap<String, AdaptedMap>,
}

/// How a weight `W [N, K]` is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `W + scale * B A`, with `A [r, K]` and `B [N, r]` (Hu et al. 2021).
    Lora,
    /// The same, with rows scaled to lengths `m [N]` that are learnt (Liu et al. 2024).
    Dora,
    /// `W[o, j] + M[j mod r, o]`, with `M [r, N]`: inputs are summed in `r` shards (`MiSS`, Kang and Yin 2024).
    Miss,
}

/// The adapter of one linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptedMap {
    /// `r`
    pub rank: usize,
    pub alpha: f64,
}

/// The linear layers of a backbone: module names with the numbers of outputs and inputs.
pub(super) fn linear_layers(backbone: &[Spec]) -> BTreeMap<&str, [usize; 2]> {
    backbone.iter().filter_map(|spec| Some((module(&spec.name), spec.map?.shape))).collect()
}

impl LowRank {
    /// The parameters to add to a backbone with these specs, so that outputs are unchanged at first: `A` random, `B` and
    /// `M` zero. Lengths have no initial value of their own: they are those of the rows of the weight.
    ///
    /// # Errors
    /// `Error::Value` if this backbone has no such linear layer.
    pub fn specs(&self, backbone: &[Spec]) -> Result<Vec<Spec>> {
        let sizes = linear_layers(backbone);
        let owner = Owner::Adapter(self.name.as_str().into());
        let mut specs = Vec::new();
        for (map, AdaptedMap { rank, .. }) in &self.maps {
            let [n_out, n_in] = *sizes.get(map.as_str()).ok_or_else(|| {
                Error::Value(format!("adapter {:?}: this backbone has no linear layer {map:?}", self.name))
            })?;
            let a = Init::Uniform(1.0 / (n_in as f64).sqrt());
            let shapes: &[(&[usize], Init)] = match self.kind {
                Kind::Lora => &[(&[*rank, n_in], a), (&[n_out, *rank], Init::Zeros)],
                Kind::Dora => &[(&[*rank, n_in], a), (&[n_out, *rank], Init::Zeros), (&[n_out], Init::Ones)],
                Kind::Miss => &[(&[*rank, n_out], Init::Zeros)],
            };
            let of_map = self.names(map).into_iter().zip(shapes);
            specs.extend(of_map.map(|(name, (shape, init))| Spec::new(name, shape, *init).of(&owner)));
        }
        Ok(specs)
    }

    /// The weights whose rows have lengths, and the names of these.
    pub(super) fn lengths<'a>(&'a self, backbone: &'a [Spec]) -> impl Iterator<Item = (&'a Spec, String)> {
        let adapted = backbone.iter().filter(|spec| self.kind == Kind::Dora && self.on(&spec.name).is_some());
        adapted.filter_map(|spec| Some((spec, self.names_on(&spec.name).pop()?)))
    }

    /// The adapter of a weight.
    pub(super) fn on(&self, weight: &str) -> Option<AdaptedMap> {
        self.maps.get(module(weight)).copied()
    }

    /// The names of the adapter's parameters for a weight.
    pub(super) fn names_on(&self, weight: &str) -> Vec<String> {
        self.names(module(weight))
    }

    /// The factor on `B A`.
    pub(super) fn scale(&self, AdaptedMap { rank, alpha }: AdaptedMap) -> f64 {
        match self.kind {
            Kind::Miss => 1.0,
            _ if self.rslora => alpha / (rank as f64).sqrt(),
            _ => alpha / rank as f64,
        }
    }

    /// The names of the adapter's parameters for a module.
    pub(super) fn names(&self, module: &str) -> Vec<String> {
        self.kind.parameters().map(|part| format!("{module}.{}", part.replace("{}", &self.name))).collect()
    }
}

impl Kind {
    /// The names of its parameters within a module, where `{}` is the name of the adapter.
    fn parameters(self) -> impl Iterator<Item = &'static str> {
        const OF_DORA: [&str; 3] = ["lora_A.{}.weight", "lora_B.{}.weight", "lora_magnitude_vector.{}.weight"];
        const OF_MISS: [&str; 1] = ["miss_block.{}"];
        match self {
            Self::Lora => OF_DORA[..2].iter(),
            Self::Dora => OF_DORA.iter(),
            Self::Miss => OF_MISS.iter(),
        }
        .copied()
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
