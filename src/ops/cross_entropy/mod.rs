//! Softmax cross entropy with class weights, row weights, label smoothing and ignored rows, as defined by
//! `torch.nn.functional.cross_entropy` (2.x).
//!
//! For logits `z [B, C]`, labels `y`, class weights `w`, smoothing `e` and `q = log softmax(z)`, a row's loss is
//! `-(1 - e) w_y q_y - e / C sum_c w_c q_c`, times the weight of the row, which torch does not have. The result is the
//! sum over rows with a label, divided by `normalizer` (torch: the sum of `w_y`). Backward:
//! `dz_c = (softmax_c * m - (1 - e) w_y [c = y] - e w_c / C) / normalizer`, where `m` is the sum of the two subtracted
//! weights over all `c`.

mod cpu;
mod target;

use candle_core::Shape;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
pub use target::CrossEntropy;

/// Scalar loss of `logits [B, C]`.
pub fn cross_entropy(logits: &Var, target: CrossEntropy) -> Result<Var> {
    let c = target.check(logits.array().shape())?;
    let loss = cpu::loss(&target, &logits.array().values()?, c);
    Ok(Var::computed(Array::new(vec![loss], ())?, &[logits], target))
}

impl CrossEntropy {
    /// Checks the shape and returns `C`.
    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        let bad = self.labels.iter().flatten().find(|y| **y as usize >= c);
        let unfit = |weight: &Option<Vec<f32>>, n| weight.as_ref().is_some_and(|w| w.len() != n);
        if b != self.labels.len() || bad.is_some() || unfit(&self.class_weight, c) || unfit(&self.row_weight, b) {
            return Err(Error::internal(format!(
                "cross entropy: got logits {shape:?}, {} labels, {:?} class weights, label {bad:?}",
                self.labels.len(),
                self.class_weight.as_ref().map(Vec::len)
            )));
        }
        Ok(c)
    }
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross entropy"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let c = self.check(inputs[0].shape())?;
        let scale = (f64::from(gradient.values()?[0]) / self.normalizer) as f32;
        let logits = inputs[0].values()?;
        into[0].write(|dz, add| cpu::gradient(self, &logits, c, scale, dz, add))
    }
}
