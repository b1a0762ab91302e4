//! Pooling of packed sequences on the CPU.

use rayon::prelude::*;

use super::reduction::Reduction;
use crate::compute::put;
use crate::compute::simd::vectorised;

/// Pools the rows of each sequence of `x [T, D]` to `y [B, D]`.
pub(super) fn forward(x: &[f32], d: usize, cu_seqlens: &[u32], reduction: Reduction) -> Vec<f32> {
    let mut y = vec![0f32; cu_seqlens.len().saturating_sub(1) * d];
    y.par_chunks_mut(d).enumerate().for_each(|(sequence, y)| {
        let rows = &x[cu_seqlens[sequence] as usize * d..cu_seqlens[sequence + 1] as usize * d];
        reduce(reduction, rows, y);
    });
    y
}

/// `dx [T, D] (+)=` the gradient of `x [T, D]`, from `y [B, D]` and `dy [B, D]`.
pub(super) fn backward(
    [x, y, dy]: [&[f32]; 3],
    d: usize,
    cu_seqlens: &[u32],
    reduction: Reduction,
    dx: &mut [f32],
    add: bool,
) {
    let (mut parts, mut rest) = (Vec::with_capacity(cu_seqlens.len()), dx);
    for rows in cu_seqlens.windows(2) {
        let (part, after) = rest.split_at_mut((rows[1] - rows[0]) as usize * d);
        parts.push((rows[0] as usize * d, part));
        rest = after;
    }
    parts.into_par_iter().enumerate().for_each(|(sequence, (start, dx))| {
        let at = sequence * d..(sequence + 1) * d;
        spread(reduction, &x[start..start + dx.len()], &y[at.clone()], &dy[at], dx, add);
    });
}

vectorised! {
    /// Pools rows `[_, D]` into `y [D]`, which must be zero before.
    fn reduce(reduction: Reduction, rows: &[f32], y: &mut [f32]) {
        let d = y.len();
        match reduction {
            Reduction::Mean | Reduction::MeanSqrtLen | Reduction::WeightedMean => {
                for (i, row) in rows.chunks_exact(d).enumerate() {
                    let weight = reduction.weight(i);
                    y.iter_mut().zip(row).for_each(|(y, &x)| *y += x * weight);
                }
                let scale = reduction.scale(rows.len() / d);
                for y in y {
                    *y *= scale;
                }
            }
            Reduction::Max => {
                let mut rows = rows.chunks_exact(d);
                if let Some(first) = rows.next() {
                    y.copy_from_slice(first);
                }
                for row in rows {
                    // Propagates NaN: nothing compares as larger than it.
                    y.iter_mut().zip(row).for_each(|(y, &x)| *y = if x > *y || x.is_nan() { x } else { *y });
                }
            }
        }
    }
}

vectorised! {
    /// Gradient `dx` of the rows `x` of one sequence, both `[_, D]`, from its `y [D]` and `dy [D]`.
    fn spread(reduction: Reduction, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32], add: bool) {
        let d = y.len();
        match reduction {
            Reduction::Mean | Reduction::MeanSqrtLen | Reduction::WeightedMean => {
                let scale = reduction.scale(dx.len() / d);
                for (i, dx) in dx.chunks_exact_mut(d).enumerate() {
                    let weight = scale * reduction.weight(i);
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| put(dx, dy * weight, add));
                }
            }
            Reduction::Max => {
                if !add {
                    dx.fill(0.0);
                }
                for column in 0..d {
                    if let Some(row) = x.chunks_exact(d).position(|row| row[column] == y[column]) {
                        dx[row * d + column] += dy[column];
                    }
                }
            }
        }
    }
}
