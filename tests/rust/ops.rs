//! Values with gradients, and small operations to make losses of, for the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Tensor};
use warmstart::array::Array;
use warmstart::autograd::{Gradient, GradientBuffer, Op, Slot, Var};
use warmstart::error::Result;
use warmstart::matmul::{Format, Precision};
use warmstart::ops::activation::Activation;
use warmstart::ops::affine::Affine;
use warmstart::ops::attention::{self, Scheme, Span};
use warmstart::ops::dropout::Dropout;
use warmstart::ops::linear::{self, Frozen};
use warmstart::ops::norm::{Kind, Norm};
use warmstart::rng::{Key, Stream};

/// Standard normal values.
pub fn random(seed: u64, shape: &[usize]) -> Result<Array> {
    let values = Key::new(seed, Stream::Init).normal(shape.iter().product(), 1.0);
    Array::new(values, shape)
}

pub fn f64s(array: &Array) -> Result<Vec<f64>> {
    Ok(array.values()?.iter().copied().map(f64::from).collect())
}

/// `factor * array`.
pub fn scaled(array: &Array, factor: f64) -> Result<Array> {
    Array::new(array.values()?.iter().map(|x| x * factor as f32).collect(), array.shape())
}

/// The same values rounded to bf16, or widened to f32.
pub fn as_type(array: &Array, dtype: DType) -> Result<Array> {
    Array::try_from(&Tensor::try_from(array.clone())?.to_dtype(dtype)?)
}

/// Each array as a parameter, and where their gradients arrive.
pub fn parameters(arrays: &[Array]) -> Result<(Vec<Var>, GradientBuffer)> {
    let gradients = GradientBuffer::new(&arrays.iter().map(Array::elem_count).collect::<Vec<_>>())?;
    let slots = gradients.slots();
    let values = arrays.iter().zip(slots).map(|(array, slot)| Var::parameter(array.clone(), slot));
    Ok((values.collect::<Result<_>>()?, gradients))
}

/// `activation(x w^T + b)`.
pub fn linear(
    x: &Var,
    w: &Var,
    b: Option<&Var>,
    activation: Option<Activation>,
    format: impl Into<Format>,
) -> Result<Var> {
    linear::linear(x, &Affine::new(w, b)?, &linear::Added::NONE, activation.into(), format)
}

/// The map with `w` and `b`, packed.
pub fn frozen(w: &Var, b: Option<&Var>, precision: Precision) -> Result<Frozen> {
    Ok(Frozen::new(&Affine::new(w, b)?, precision))
}

/// Layer norm with these parameters.
pub fn layer_norm(weight: &Var, bias: &Var, eps: f64) -> Norm {
    Norm { kind: Kind::Layer, weight: weight.clone(), bias: Some(bias.clone()), eps }
}

/// Attention of `heads` heads over whole sequences.
pub fn attention(
    q: &Var,
    k: &Var,
    v: &Var,
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<Dropout>,
    format: impl Into<Format>,
) -> Result<Var> {
    let scheme = Scheme { cu_seqlens, heads, key_heads: heads, span: Span::ALL, rotary: None, dropout };
    attention::attention(q, k, v, scheme, format)
}

/// What has arrived for each parameter.
pub fn collected(gradients: &GradientBuffer) -> Vec<Option<Vec<f32>>> {
    gradients.read(|gradients| gradients.iter().map(|g| g.map(Gradient::to_vec)).collect()).unwrap()
}

/// `sum over inputs i of weights_i . x_i`, a scalar.
pub fn weighted_sum(terms: &[(&Var, &[f32])]) -> Result<Var> {
    struct WeightedSum(Vec<Vec<f32>>);
    // SAFETY: what is not added to is written, all of it.
    unsafe impl Op for WeightedSum {
        fn name(&self) -> &'static str {
            "weighted sum"
        }
        fn backward(&self, _: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
            let gradient = gradient.values()?;
            for (slot, weights) in into.iter_mut().zip(&self.0) {
                slot.write(|dx, add| {
                    for (dx, w) in dx.iter_mut().zip(weights) {
                        *dx = w * gradient[0] + if add { *dx } else { 0.0 };
                    }
                })?;
            }
            Ok(())
        }
    }
    let (mut total, inputs) = (0.0, terms.iter().map(|(x, _)| *x).collect::<Vec<_>>());
    for (x, weights) in terms {
        total += x.array().values()?.iter().zip(*weights).map(|(x, w)| x * w).sum::<f32>();
    }
    let op = WeightedSum(terms.iter().map(|(_, weights)| weights.to_vec()).collect());
    Ok(Var::computed(Array::new(vec![total], ())?, &inputs, op))
}

/// The sum of all values.
pub fn sum(x: &Var) -> Result<Var> {
    weighted_sum(&[(x, &vec![1.0; x.array().elem_count()])])
}

/// `factor * x`, counting in `backwards` how many of these have run backward and in `alive` how many are kept.
pub struct Scale {
    pub factor: f32,
    pub backwards: Arc<AtomicUsize>,
    pub alive: Arc<()>,
    /// How many were alive, itself included, when each ran backward.
    pub seen: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Scale {
    pub fn new(factor: f32) -> Self {
        Self { factor, backwards: Arc::default(), alive: Arc::default(), seen: Arc::default() }
    }

    /// Another one that shares the counters.
    pub fn twin(&self) -> Self {
        let (backwards, alive, seen) = (self.backwards.clone(), self.alive.clone(), self.seen.clone());
        Self { factor: self.factor, backwards, alive, seen }
    }

    pub fn apply(self, x: &Var) -> Result<Var> {
        Ok(Var::computed(scaled(x.array(), f64::from(self.factor))?, &[x], self))
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn backward(&self, _: &[&Array], mut gradient: Array, into: &mut [Slot]) -> Result<()> {
        self.backwards.fetch_add(1, Ordering::Relaxed);
        self.seen.lock().unwrap().push(Arc::strong_count(&self.alive));
        for g in gradient.values_mut()? {
            *g *= self.factor;
        }
        into[0].give(gradient)
    }
}
