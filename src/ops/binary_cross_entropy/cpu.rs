//! Sigmoid cross entropy on the CPU.

use super::target::BinaryCrossEntropy;
use crate::compute::math;
use crate::compute::{CHUNK, for_chunks, put};

/// The loss of `logits [B, C]`.
pub(super) fn loss(target: &BinaryCrossEntropy, logits: &[f32], c: usize) -> f32 {
    let total: f64 = logits
        .iter()
        .zip(&target.targets)
        .enumerate()
        .map(|(i, (&z, &t))| f64::from(target.weight(i, c)) * f64::from(z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()))
        .sum();
    (total / target.normalizer) as f32
}

/// `dz (+)= scale` times the gradient of the summed loss over `logits [B, C]`.
pub(super) fn gradient(target: &BinaryCrossEntropy, logits: &[f32], c: usize, scale: f32, dz: &mut [f32], add: bool) {
    for_chunks(dz, CHUNK, |start, dz| {
        for (i, dz) in dz.iter_mut().enumerate() {
            let at = start + i;
            let slope = 1.0 / (1.0 + math::exp(-logits[at])) - target.targets[at];
            put(dz, scale * target.weight(at, c) * slope, add);
        }
    });
}
