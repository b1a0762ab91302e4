//! A model's parameters by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::low_rank::{Kind, LowRank};
use super::spec::{Owner, Spec, SpecMap, initialise};
use crate::array::Array;
use crate::autograd::{GradientSlot, Var};
use crate::compute::available_memory;
use crate::error::{Error, Result};
use crate::rng::Key;

/// Arrays of f32 by name, each with its owner; trainable ones have a slot for their gradient. Clones share the arrays.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    all: BTreeMap<String, Parameter>,
    /// Low-rank adapters of linear layers; their parameters are in `all`.
    adapters: Vec<Arc<LowRank>>,
    /// The parameters before the first adapter was added.
    base: Option<Arc<Parameters>>,
}

#[derive(Debug, Clone)]
struct Parameter {
    owner: Owner,
    value: Var,
}

impl Parameters {
    /// The parameter `name`.
    pub fn get(&self, name: &str) -> Result<&Array> {
        self.value(name).map(Var::array)
    }

    /// The parameter `name` as an input of operations.
    pub fn value(&self, name: &str) -> Result<&Var> {
        self.found(name).map(|parameter| &parameter.value)
    }

    fn found(&self, name: &str) -> Result<&Parameter> {
        self.all.get(name).ok_or_else(|| Error::Weights(format!("the model has no parameter {name:?}")))
    }

    /// Add a parameter, or replace it.
    pub fn insert(&mut self, name: impl Into<String>, owner: &Owner, array: Array) {
        self.all.insert(name.into(), Parameter { owner: owner.clone(), value: Var::constant(array) });
    }

    /// Replace the values of a parameter.
    pub fn replace(&mut self, name: &str, array: Array) -> Result<()> {
        self.replace_value(name, Var::constant(array))
    }

    /// Replace the values of a parameter by trainable ones: the gradient is collected in `slot`.
    pub fn train(&mut self, name: &str, array: Array, slot: GradientSlot) -> Result<()> {
        self.replace_value(name, Var::parameter(array, slot)?)
    }

    /// Replace the value of a parameter, possibly by one that another parameter shares.
    pub(crate) fn replace_value(&mut self, name: &str, value: Var) -> Result<()> {
        let owner = self.found(name)?.owner.clone();
        self.all.insert(name.into(), Parameter { owner, value });
        Ok(())
    }

    /// New parameters for `specs`; values depend only on `key` and the names.
    pub fn initialised(specs: &[Spec], key: Key) -> Result<Self> {
        let mut params = Self::default();
        for spec in specs {
            params.insert(&spec.name, &spec.owner, initialise(spec, key)?);
        }
        Ok(params)
    }

    /// Add an adapter with newly initialised parameters to a backbone of these specs.
    pub fn adapt(&mut self, adapter: &Arc<LowRank>, backbone: &[Spec], key: Key) -> Result<()> {
        let specs = adapter.specs(backbone)?;
        let mut added = Self::initialised(&specs, key)?;
        for (weight, lengths) in adapter.lengths(backbone) {
            let values = row_lengths(self.get(&weight.name)?, weight)?;
            added.replace(&lengths, values)?;
        }
        self.add(adapter, &added)
    }

    /// Add an adapter whose parameters are `added`.
    pub fn add(&mut self, adapter: &Arc<LowRank>, added: &Self) -> Result<()> {
        if self.adapters.iter().any(|other| other.name == adapter.name) {
            return Err(Error::Value(format!("adapter {:?} is there already; give it another name", adapter.name)));
        }
        let with_dora = |other: &&Arc<LowRank>| other.kind == Kind::Dora || adapter.kind == Kind::Dora;
        for other in self.adapters.iter().filter(with_dora) {
            if let Some(map) = other.maps.keys().find(|map| adapter.maps.contains_key(*map)) {
                return Err(Error::Value(format!(
                    "{map}: an adapter of DoRA is the only one of its linear layer, and adapter {:?} has it too",
                    other.name
                )));
            }
        }
        if let Some(name) = added.all.keys().find(|name| self.all.contains_key(*name)) {
            return Err(Error::Value(format!("adapter {:?} is there already: {}", adapter.name, name)));
        }
        let base = self.base.take().unwrap_or_else(|| Arc::new(self.clone()));
        *self = self.with(added);
        self.base = Some(base);
        self.adapters.push(adapter.clone());
        Ok(())
    }

    /// These parameters without those of adapters; what else was trained stays.
    #[must_use]
    pub fn without_adapters(&self) -> Self {
        self.kept(|_, owner| !matches!(owner, Owner::Adapter(_)))
    }

    /// The parameters as they were before the first adapter was added.
    pub fn base(&self) -> &Self {
        self.base.as_deref().unwrap_or(self)
    }

    /// Set what [`Parameters::base`] returns for one of the backbone's parameters.
    pub fn set_base(&mut self, name: &str, array: Array) -> Result<()> {
        let mut base = self.base().clone();
        base.replace(name, array)?;
        self.base = Some(Arc::new(base));
        Ok(())
    }

    /// The backbone's parameters that differ from those before the first adapter was added: names and values now.
    pub fn changed(&self) -> Result<Vec<(&str, &Array)>> {
        let Some(base) = &self.base else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        for (name, parameter) in self.all.iter().filter(|(_, parameter)| parameter.owner == Owner::Backbone) {
            let (was, is) = (base.get(name)?.values()?, parameter.value.array().values()?);
            // Not trained, it is the same memory.
            if was.as_ptr() != is.as_ptr() && *was != *is {
                changed.push((name.as_str(), parameter.value.array()));
            }
        }
        Ok(changed)
    }

    /// The low-rank adapters of linear layers.
    pub fn adapters(&self) -> &[Arc<LowRank>] {
        &self.adapters
    }

    /// # Errors
    /// `Error::Value` if there are adapters: the model cannot be `what` with them yet.
    pub fn check_without_adapters(&self, what: &str) -> Result<()> {
        match self.adapters.first() {
            None => Ok(()),
            Some(adapter) => Err(Error::Value(format!("adapter {:?} cannot be {what}", adapter.name))),
        }
    }

    /// Names and arrays in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.all.iter().map(|(name, parameter)| (name.as_str(), parameter.value.array()))
    }

    /// The number of values in all parameters.
    pub fn count(&self) -> usize {
        self.iter().map(|(_, array)| array.elem_count()).sum()
    }

    /// The parameters whose names satisfy `keep`.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        self.kept(|name, _| keep(name))
    }

    /// The parameters of this owner.
    #[must_use]
    pub fn owned(&self, by: &Owner) -> Self {
        self.kept(|_, owner| owner == by)
    }

    /// These parameters, plus those whose names begin with `scope` again under the name without it.
    #[must_use]
    pub fn within(&self, scope: &str) -> Self {
        let stripped = self.all.iter().filter_map(|(name, one)| Some((name.strip_prefix(scope)?.into(), one.clone())));
        let all = self.all.iter().map(|(name, one)| (name.clone(), one.clone())).chain(stripped).collect();
        Self { all, adapters: self.adapters.clone(), base: self.base.clone() }
    }

    /// The backbone's parameters with adapters, and those of heads.
    pub fn split_heads(&self) -> (Self, Self) {
        let of_head = |owner: &Owner| matches!(owner, Owner::Head(_));
        (self.kept(|_, owner| !of_head(owner)), self.kept(|_, owner| of_head(owner)))
    }

    fn kept(&self, keep: impl Fn(&str, &Owner) -> bool) -> Self {
        let kept = self.all.iter().filter(|(name, parameter)| keep(name, &parameter.owner));
        let all: BTreeMap<String, Parameter> =
            kept.map(|(name, parameter)| (name.clone(), parameter.clone())).collect();
        let owns = |adapter: &&Arc<LowRank>| {
            let owner = Owner::Adapter(adapter.name.as_str().into());
            all.values().any(|parameter| parameter.owner == owner)
        };
        let adapters: Vec<_> = self.adapters.iter().filter(owns).cloned().collect();
        let base = self.base.clone().filter(|_| !adapters.is_empty());
        Self { all, adapters, base }
    }

    /// The union of these parameters and `others`.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        let all = self.all.iter().chain(&others.all);
        let mut adapters = self.adapters.clone();
        adapters.extend(others.adapters.iter().filter(|other| !self.adapters.contains(other)).cloned());
        let all = all.map(|(name, parameter)| (name.clone(), parameter.clone())).collect();
        Self { all, adapters, base: self.base.clone().or_else(|| others.base.clone()) }
    }

    /// The same parameters, renamed by `name` and given to `owner`.
    #[must_use]
    pub fn handed_to(&self, owner: &Owner, name: impl Fn(&str) -> String) -> Self {
        let given = |parameter: &Parameter| Parameter { owner: owner.clone(), value: parameter.value.clone() };
        let all = self.all.iter().map(|(old, parameter)| (name(old), given(parameter))).collect();
        Self { all, adapters: Vec::new(), base: None }
    }
}

/// The lengths of the rows of a map's weight, `[N]`.
fn row_lengths(array: &Array, spec: &Spec) -> Result<Array> {
    let Some(SpecMap { shape: [n_out, n_in], input_major }) = spec.map else {
        return Err(Error::internal(format!("{} is no weight of a map", spec.name)));
    };
    let values = array.values()?;
    let at = |row: usize, column: usize| values[if input_major { column * n_out + row } else { row * n_in + column }];
    let length = |row: usize| (0..n_in).map(|column| f64::from(at(row, column)).powi(2)).sum::<f64>().sqrt() as f32;
    Array::new((0..n_out).map(length).collect(), n_out)
}

/// Check that the machine has enough memory for new parameters; if it does not report its memory, do nothing.
///
/// # Errors
/// `Error::Device` if it has less than needed.
pub fn check_memory<'a>(specs: impl Iterator<Item = &'a Spec>) -> Result<()> {
    let n = specs.map(Spec::n_values).fold(0, usize::saturating_add);
    let needed = n.saturating_mul(size_of::<f32>());
    let gib = |bytes: usize| bytes as f64 / (1u64 << 30) as f64;
    match available_memory().filter(|available| *available < needed) {
        None => Ok(()),
        Some(available) => Err(Error::Device(format!(
            "the model's weights take {:.1} GiB of memory ({n} values in float32), and {:.1} GiB are available; \
             take a smaller model",
            gib(needed),
            gib(available)
        ))),
    }
}
