//! What a parameter is: name, shape, how it begins, and whose it is.

use std::sync::Arc;

use crate::array::Array;
use crate::error::Result;
use crate::rng::Key;

/// How a parameter that no checkpoint holds begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// The same, drawn again where it is beyond a number of standard deviations.
    TruncatedNormal(f64, f64),
    /// Uniform between this and its negative.
    Uniform(f64),
    Zeros,
    Ones,
}

/// Whose a parameter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Backbone,
    /// The head of a task of this name.
    Head(Arc<str>),
    /// What a strategy adds, under this name.
    Adapter(Arc<str>),
}

impl Owner {
    /// The head of the task `name`.
    pub fn head(name: &str) -> Self {
        Self::Head(name.into())
    }
}

/// A parameter a model has.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
    pub owner: Owner,
    /// Outputs and inputs, of the weight of an affine map; of several maps in one all outputs.
    pub map: Option<[usize; 2]>,
}

impl Spec {
    /// Values it has, or `usize::MAX` if they are more than can be counted.
    pub(super) fn n_values(&self) -> usize {
        self.shape.iter().try_fold(1, |n: usize, size| n.checked_mul(*size)).unwrap_or(usize::MAX)
    }

    /// A parameter of the backbone of this name, shape and beginning.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init, owner: Owner::Backbone, map: None }
    }

    /// The same parameter, another's.
    #[must_use]
    pub fn of(self, owner: &Owner) -> Self {
        Self { owner: owner.clone(), ..self }
    }
}

/// A new parameter; its values follow from `key` and its name.
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
