//! A model's parameters by name.

use std::collections::BTreeMap;

use crate::array::Array;
use crate::autograd::{GradientSlot, Value};
use crate::compute::available_memory;
use crate::error::{Error, Result};
use crate::rng::Key;

/// How a parameter that no checkpoint holds begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// The same, drawn again where it is beyond a number of standard deviations.
    TruncatedNormal(f64, f64),
    Zeros,
    Ones,
}

/// A parameter a model has.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
}

impl Spec {
    /// Values it has, or `usize::MAX` if they are more than can be counted.
    fn n_values(&self) -> usize {
        self.shape.iter().try_fold(1, |n: usize, size| n.checked_mul(*size)).unwrap_or(usize::MAX)
    }

    /// A parameter of this name, shape and beginning.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init }
    }
}

/// Arrays of f32 by name; those that are trained have a place for their gradient. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Parameters(BTreeMap<String, Value>);

impl Parameters {
    /// The parameter `name`.
    pub fn get(&self, name: &str) -> Result<&Array> {
        self.value(name).map(Value::array)
    }

    /// The parameter `name` as operations take it.
    pub fn value(&self, name: &str) -> Result<&Value> {
        self.0.get(name).ok_or_else(|| Error::Weights(format!("the model has no parameter {name:?}")))
    }

    /// Add a parameter, or put another in its place.
    pub fn insert(&mut self, name: impl Into<String>, array: Array) {
        self.0.insert(name.into(), Value::constant(array));
    }

    /// Add a parameter that is another's too.
    pub(crate) fn insert_value(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// Add a parameter whose gradient is collected in `slot`, or put it in another's place.
    pub fn insert_trained(&mut self, name: impl Into<String>, array: Array, slot: GradientSlot) -> Result<()> {
        self.0.insert(name.into(), Value::parameter(array, slot)?);
        Ok(())
    }

    /// Names and arrays in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.array()))
    }

    /// The number of values in all parameters.
    pub fn count(&self) -> usize {
        self.0.values().map(|value| value.array().elem_count()).sum()
    }

    /// The parameters whose name passes.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

impl FromIterator<(String, Array)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Array)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(name, array)| (name, Value::constant(array))).collect())
    }
}

/// See that the machine has the memory for parameters that are to be made; where it does not tell, do nothing.
///
/// # Errors
/// `Error::Device` if it has less.
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

/// A new parameter; its values follow from `key` and its name.
pub fn initialise(spec: &Spec, key: Key) -> Result<Array> {
    let n = spec.shape.iter().product();
    let values = match spec.init {
        Init::Normal(std) => key.named(&spec.name).normal(n, std),
        Init::TruncatedNormal(std, cutoff) => key.named(&spec.name).truncated_normal(n, std, cutoff),
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
    };
    Array::new(values, spec.shape.as_slice())
}
