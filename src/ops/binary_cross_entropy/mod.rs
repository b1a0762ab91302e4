//! Sigmoid cross entropy over independent outputs, as `torch.nn.functional.binary_cross_entropy_with_logits` (2.x).
//!
//! For logits `z [B, C]`, targets `t` in [0, 1] and `w`, the weight of the output times the weight of the row: the sum
//! of `w (max(z, 0) - z t + log(1 + exp(-|z|)))`, divided by `normalizer` (torch: `B * C`). Backward:
//! `dz = w (sigmoid(z) - t) / normalizer`.

mod cpu;
mod target;

use candle_core::Shape;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
pub use target::BinaryCrossEntropy;

/// Scalar loss of `logits [B, C]`.
pub fn binary_cross_entropy(logits: &Var, target: BinaryCrossEntropy) -> Result<Var> {
    let c = target.check(logits.array().shape())?;
    let loss = cpu::loss(&target, &logits.array().values()?, c);
    Ok(Var::computed(Array::new(vec![loss], ())?, &[logits], target))
}

impl BinaryCrossEntropy {
    /// Checks the shape and returns `C`.
    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        let unfit = |weight: &Option<Vec<f32>>, n| weight.as_ref().is_some_and(|w| w.len() != n);
        if self.targets.len() != b * c || unfit(&self.class_weight, c) || unfit(&self.row_weight, b) {
            let n = self.targets.len();
            return Err(Error::internal(format!("binary cross entropy: got logits {shape:?} and {n} targets")));
        }
        Ok(c)
    }
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary cross entropy"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let c = self.check(inputs[0].shape())?;
        let scale = (f64::from(gradient.values()?[0]) / self.normalizer) as f32;
        let logits = inputs[0].values()?;
        into[0].write(|dz, add| cpu::gradient(self, &logits, c, scale, dz, add))
    }
}
