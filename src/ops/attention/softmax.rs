//! The softmax of one query's scores, forward and backward, on the CPU.

use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::ops::dropout::Dropout;

vectorised! {
    /// Replaces scores by `exp(scale * score - max)`, with dropout applied. Returns `max` and the sum before dropout.
    /// The row's keys begin at index `first`.
    pub(in crate::ops) fn exponentials(row: &mut [f32], scale: f32, dropout: Option<Dropout>, first: usize) -> (f32, f32) {
        let max = math::max(row, |x| x) * scale;
        let sum = math::map_sum(row, |x| math::exp_small(x.mul_add(scale, -max)));
        if let Some(dropout) = dropout {
            for (piece, factors) in dropout.factors(first, row.len()) {
                row[piece].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            }
        }
        (max, sum)
    }
}

vectorised! {
    /// From scores and `dO V^T` of one query: `p` becomes `dropout(P)`, needed for `dV`, and `dp` becomes `dS`, scaled.
    /// The row sum is taken over `P dP`, which has the same bf16 error as `dP`, so that the error cancels in the
    /// difference.
    pub(in crate::ops) fn softmax_backward(p: &mut [f32], dp: &mut [f32], scale: f32, lse: f32, dropout: Option<Dropout>, first: usize) {
        for p in p.iter_mut() {
            *p = math::exp_small(p.mul_add(scale, -lse));
        }
        // Probabilities are not negative, so a negative sign marks a dropped one until the sum is known.
        if let Some(dropout) = dropout {
            for (piece, factors) in dropout.factors(first, p.len()) {
                for ((p, dp), factor) in p[piece.clone()].iter_mut().zip(&mut dp[piece]).zip(factors) {
                    *p = if factor == 0.0 { -*p } else { *p };
                    *dp *= factor;
                }
            }
        }
        let sum = math::sum2(p, dp, |p, dp| p * dp);
        let kept = dropout.map_or(1.0, |dropout| dropout.scale());
        for (p, dp) in p.iter_mut().zip(dp) {
            *dp = p.abs() * scale * (*dp - sum);
            *p = if *p < 0.0 { 0.0 } else { *p * kept };
        }
    }
}
