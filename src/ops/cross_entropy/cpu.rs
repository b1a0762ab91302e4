//! Softmax cross entropy on the CPU.

use super::target::CrossEntropy;
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{for_chunks, put};

/// The loss of `logits [B, C]`.
pub(super) fn loss(target: &CrossEntropy, logits: &[f32], c: usize) -> f32 {
    let (smooth, mut total) = (f64::from(target.label_smoothing), 0f64);
    for (i, (row, label)) in logits.chunks_exact(c.max(1)).zip(&target.labels).enumerate() {
        let Some(y) = *label else { continue };
        let (lse, weight) = (log_sum_exp(row), f64::from(target.row_weight(i)));
        total += weight * (1.0 - smooth) * f64::from(target.weight(y as usize)) * f64::from(lse - row[y as usize]);
        if smooth > 0.0 {
            let all: f64 = row.iter().enumerate().map(|(c, z)| f64::from(target.weight(c)) * f64::from(lse - z)).sum();
            total += weight * smooth / c as f64 * all;
        }
    }
    (total / target.normalizer) as f32
}

/// `dz (+)= scale` times the gradient of the summed loss over the rows of `logits [B, C]`.
pub(super) fn gradient(target: &CrossEntropy, logits: &[f32], c: usize, scale: f32, dz: &mut [f32], add: bool) {
    let mean_weight = (0..c).map(|c| target.weight(c)).sum::<f32>() / c.max(1) as f32;
    for_chunks(dz, c, |start, dz| {
        let Some(y) = target.labels.get(start / c.max(1)).copied().flatten() else {
            if !add {
                dz.fill(0.0);
            }
            return;
        };
        let (row, y) = (&logits[start..start + dz.len()], y as usize);
        let scale = scale * target.row_weight(start / c);
        let hard = (1.0 - target.label_smoothing) * target.weight(y);
        let mass = hard + target.label_smoothing * mean_weight;
        scaled_softmax(row, log_sum_exp(row), scale * mass, dz, add);
        if target.label_smoothing > 0.0 {
            let soft = scale * target.label_smoothing / c as f32;
            dz.iter_mut().enumerate().for_each(|(class, dz)| *dz -= soft * target.weight(class));
        }
        dz[y] -= scale * hard;
    });
}

vectorised! {
    fn log_sum_exp(row: &[f32]) -> f32 {
        let max = math::max(row, |x| x);
        max + math::sum(row, |z| math::exp_small(z - max)).ln()
    }
}

vectorised! {
    /// `out (+)= scale * exp(row - lse)`.
    fn scaled_softmax(row: &[f32], lse: f32, scale: f32, out: &mut [f32], add: bool) {
        out.iter_mut().zip(row).for_each(|(out, z)| put(out, scale * math::exp_small(z - lse), add));
    }
}
