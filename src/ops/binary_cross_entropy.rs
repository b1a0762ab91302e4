//! Sigmoid cross entropy over independent outputs, as `torch.nn.functional.binary_cross_entropy_with_logits` (2.x).
//!
//! For logits `z [B, C]`, targets `t` in [0, 1] and the product `w` of the weights of output and row:
//! `w (max(z, 0) - z t + log(1 + exp(-|z|)))`, summed and divided by
//! `normalizer` (torch: `B * C`). Backward: `dz = w (sigmoid(z) - t) / normalizer`.

use candle_core::Shape;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::{CHUNK, for_chunks, put};
use crate::error::{Error, Result};

/// What the logits are held against.
#[derive(Debug, Clone)]
pub struct BinaryCrossEntropy {
    /// `[B, C]`, row-major, each in [0, 1].
    pub targets: Vec<f32>,
    /// A weight for each output.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row.
    pub row_weight: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: f64,
}

/// The loss, a scalar, of `logits [B, C]`.
pub fn binary_cross_entropy(logits: &Value, target: BinaryCrossEntropy) -> Result<Value> {
    let loss = target.loss(logits.array())?;
    Ok(Value::computed(Array::new(vec![loss], ())?, &[logits], target))
}

impl BinaryCrossEntropy {
    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        let unfit = |weight: &Option<Vec<f32>>, n| weight.as_ref().is_some_and(|w| w.len() != n);
        if self.targets.len() != b * c || unfit(&self.class_weight, c) || unfit(&self.row_weight, b) {
            let n = self.targets.len();
            return Err(Error::internal(format!("binary cross entropy: got logits {shape:?} and {n} targets")));
        }
        Ok(c)
    }

    /// Of the value at `at` of rows of `c`.
    #[inline(always)]
    fn weight(&self, at: usize, c: usize) -> f32 {
        let of_output = self.class_weight.as_ref().map_or(1.0, |w| w[at % c]);
        self.row_weight.as_ref().map_or(of_output, |w| of_output * w[at / c])
    }

    fn loss(&self, logits: &Array) -> Result<f32> {
        let c = self.check(logits.shape())?;
        let total: f64 = logits
            .values()?
            .iter()
            .zip(&self.targets)
            .enumerate()
            .map(|(i, (&z, &t))| {
                f64::from(self.weight(i, c)) * f64::from(z.max(0.0) - z * t + (-z.abs()).exp().ln_1p())
            })
            .sum();
        Ok((total / self.normalizer) as f32)
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary cross entropy"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let c = self.check(inputs[0].shape())?;
        let scale = (f64::from(gradient.values()?[0]) / self.normalizer) as f32;
        let z: &[f32] = &inputs[0].values()?;
        into[0].write(|dz, add| {
            for_chunks(dz, CHUNK, |start, dz| {
                for (i, dz) in dz.iter_mut().enumerate() {
                    let at = start + i;
                    let slope = 1.0 / (1.0 + math::exp(-z[at])) - self.targets[at];
                    put(dz, scale * self.weight(at, c) * slope, add);
                }
            });
        })
    }
}
