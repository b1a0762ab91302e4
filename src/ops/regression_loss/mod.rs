//! Regression losses, with a weight for each row.
//!
//! For predictions `p [B, C]`, targets `t`, `r = p - t` and the weight `w` of a row, the sum of `w f(r)`
//! divided by `normalizer` (torch's mean: `B * C`). Backward: `dp = w f'(r) / normalizer`.
//!
//! | loss | `f(r)` | as in |
//! |---|---|---|
//! | squared | `r^2` | `torch.nn.functional.mse_loss` (2.x) |
//! | Huber | `r^2 / 2` up to `delta`, beyond it `delta (abs(r) - delta / 2)` | `torch.nn.functional.huber_loss` |
//! | pinball | `-quantile r` below the target, `(1 - quantile) r` above | `sklearn.metrics.mean_pinball_loss` (1.9) |

mod cpu;
mod target;

use candle_core::Shape;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
pub use target::{Penalty, RegressionLoss};

/// Scalar loss of `predictions [B, C]`.
pub fn regression_loss(predictions: &Var, target: RegressionLoss) -> Result<Var> {
    let c = target.check(predictions.array().shape())?;
    let loss = cpu::loss(&target, &predictions.array().values()?, c);
    Ok(Var::computed(Array::new(vec![loss], ())?, &[predictions], target))
}

impl RegressionLoss {
    /// Checks the shape and returns `C`.
    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        let unfit = |weight: &Option<Vec<f32>>, n| weight.as_ref().is_some_and(|w| w.len() != n);
        if self.targets.len() != b * c || self.penalties.len() != c || unfit(&self.row_weight, b) {
            let (n, own) = (self.targets.len(), self.penalties.len());
            return Err(Error::internal(format!(
                "regression loss: got predictions {shape:?}, {n} targets and {own} penalties"
            )));
        }
        Ok(c)
    }
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for RegressionLoss {
    fn name(&self) -> &'static str {
        "regression loss"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let c = self.check(inputs[0].shape())?;
        let scale = (f64::from(gradient.values()?[0]) / self.normalizer) as f32;
        let predictions = inputs[0].values()?;
        into[0].write(|dp, add| cpu::gradient(self, &predictions, c, scale, dp, add))
    }
}
