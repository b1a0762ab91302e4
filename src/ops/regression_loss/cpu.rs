//! Regression losses on the CPU.

use super::target::RegressionLoss;
use crate::compute::{CHUNK, for_chunks, put};

/// The loss of `predictions [B, C]`.
pub(super) fn loss(target: &RegressionLoss, predictions: &[f32], c: usize) -> f32 {
    let residuals = predictions.iter().zip(&target.targets).map(|(p, t)| p - t).enumerate();
    let one = |(i, r): (usize, f32)| f64::from(target.weight(i, c)) * target.penalties[i % c].loss(f64::from(r));
    (residuals.map(one).sum::<f64>() / target.normalizer) as f32
}

/// `dp (+)= scale` times the gradient of the summed loss over `predictions [B, C]`.
pub(super) fn gradient(target: &RegressionLoss, predictions: &[f32], c: usize, scale: f32, dp: &mut [f32], add: bool) {
    for_chunks(dp, CHUNK, |start, dp| {
        for (i, dp) in dp.iter_mut().enumerate() {
            let at = start + i;
            let slope = target.penalties[at % c].slope(predictions[at] - target.targets[at]);
            put(dp, scale * target.weight(at, c) * slope, add);
        }
    });
}
