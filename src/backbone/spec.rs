//! Specification of a parameter: name, shape, initialisation and owner.

use std::sync::Arc;

use crate::array::Array;
use crate::error::Result;
use crate::rng::Key;

/// Initialisation of a parameter that no checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Normal with mean 0 and this standard deviation; values beyond the given number of standard deviations are drawn
    /// again.
    TruncatedNormal(f64, f64),
    /// Uniform between this bound and its negative.
    Uniform(f64),
    Zeros,
    Ones,
}

/// The part of a model that a parameter belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Backbone,
    /// The head of the task with this name.
    Head(Arc<str>),
    /// A training strategy's adapter with this name.
    Adapter(Arc<str>),
}

impl Owner {
    /// The head of the task `name`.
    pub fn head(name: &str) -> Self {
        Self::Head(name.into())
    }
}

/// An affine map; all maps together if a weight stacks several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecMap {
    /// Numbers of outputs and inputs.
    pub shape: [usize; 2],
    /// True if the weight is stored as `[inputs, outputs]`.
    pub input_major: bool,
}

/// A parameter of a model.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
    pub owner: Owner,
    /// The map that it is the weight of, if it is one.
    pub map: Option<SpecMap>,
    /// True if it is the weight or bias of a norm.
    pub is_norm: bool,
}

impl Spec {
    /// Number of values, or `usize::MAX` on overflow.
    pub(super) fn n_values(&self) -> usize {
        self.shape.iter().try_fold(1, |n: usize, size| n.checked_mul(*size)).unwrap_or(usize::MAX)
    }

    /// A backbone parameter of this name, shape and initialisation.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init, owner: Owner::Backbone, map: None, is_norm: false }
    }

    /// The same parameter with another owner.
    #[must_use]
    pub fn of(self, owner: &Owner) -> Self {
        Self { owner: owner.clone(), ..self }
    }
}

/// A new parameter; its values depend only on `key` and its name.
pub fn initialise(spec: &Spec, key: Key) -> Result<Array> {
    let n = spec.shape.iter().product();
    let values = match spec.init {
        Init::Normal(std) => key.named(&spec.name).normal(n, std),
        Init::TruncatedNormal(std, cutoff) => key.named(&spec.name).truncated_normal(n, std, cutoff),
        Init::Uniform(bound) => {
            let key = key.named(&spec.name);
            (0..n as u64).map(|i| (bound * (2.0 * key.uniform(i) - 1.0)) as f32).collect()
        }
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
    };
    Array::new(values, spec.shape.as_slice())
}
