//! One vector for each packed sequence: a weighted sum of its rows, or the largest of them.
//!
//! Shapes: `x [T, D]`, `cu_seqlens [B + 1]`, `y [B, D]`; a sequence without tokens gives zeros. With `n` rows, row `i` from 1
//! weighs `1 / n` in the mean, `1 / sqrt(n)` in the mean by the root of the length and `i / (1 + ... + n)` in the weighted
//! mean (`Pooling` of sentence-transformers 6.2). Backward: a sum gives each row `dy` times its weight, the maximum hands `dy`
//! to the first row that held it.

use std::sync::Arc;

use rayon::prelude::*;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::put;
use crate::compute::simd::vectorised;
use crate::error::{Error, Result};

/// How rows become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Mean,
    MeanSqrtLen,
    WeightedMean,
    Max,
}

impl Reduction {
    /// What row `row` of `n` counts in a weighted sum, but for the factor that all rows share.
    #[inline(always)]
    fn weight(self, row: usize) -> f32 {
        if self == Self::WeightedMean { (row + 1) as f32 } else { 1.0 }
    }

    /// The factor that all `n` rows share in a weighted sum.
    #[inline(always)]
    fn scale(self, n: usize) -> f32 {
        let n = n.max(1) as f32;
        match self {
            Self::MeanSqrtLen => 1.0 / n.sqrt(),
            Self::WeightedMean => 2.0 / (n * (n + 1.0)),
            Self::Mean | Self::Max => 1.0 / n,
        }
    }
}

/// Reduce the rows of each packed sequence of `x [T, D]`: `[B, D]`.
pub fn segment_pool(x: &Value, cu_seqlens: Arc<[u32]>, reduction: Reduction) -> Result<Value> {
    let (t, d) = x.array().dims2()?;
    let b = cu_seqlens.len().saturating_sub(1);
    if d == 0
        || cu_seqlens.first() != Some(&0)
        || cu_seqlens.last().is_none_or(|&last| last as usize != t)
        || !cu_seqlens.is_sorted()
    {
        return Err(Error::internal(format!("segment pool: got x [{t}, {d}] and sequences {cu_seqlens:?}")));
    }
    let mut y = vec![0f32; b * d];
    let x_values: &[f32] = &x.array().values()?;
    y.par_chunks_mut(d).enumerate().for_each(|(sequence, y)| {
        let rows = &x_values[cu_seqlens[sequence] as usize * d..cu_seqlens[sequence + 1] as usize * d];
        reduce(reduction, rows, y);
    });
    let y = Array::new(y, (b, d))?;
    Ok(Value::computed(y.clone(), &[x], SegmentPool { cu_seqlens, reduction, y }))
}

struct SegmentPool {
    cu_seqlens: Arc<[u32]>,
    reduction: Reduction,
    y: Array,
}

vectorised! {
    /// Rows `[_, D]` to `y [D]`, which is zero before.
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
                    // A NaN stays one: none is larger than it.
                    y.iter_mut().zip(row).for_each(|(y, &x)| *y = if x > *y || x.is_nan() { x } else { *y });
                }
            }
        }
    }
}

vectorised! {
    /// From `y [D]` and `dy [D]` of a sequence to `dx` of its rows `x`, both `[_, D]`.
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

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for SegmentPool {
    fn name(&self) -> &'static str {
        "segment pool"
    }

    fn backward(&self, inputs: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let (_, d) = inputs[0].dims2()?;
        let (x, y, dy): (&[f32], &[f32], &[f32]) = (&inputs[0].values()?, &self.y.values()?, &dy.values()?);
        into[0].write(|dx, add| {
            let (mut parts, mut rest) = (Vec::with_capacity(self.cu_seqlens.len()), dx);
            for rows in self.cu_seqlens.windows(2) {
                let (part, after) = rest.split_at_mut((rows[1] - rows[0]) as usize * d);
                parts.push((rows[0] as usize * d, part));
                rest = after;
            }
            parts.into_par_iter().enumerate().for_each(|(sequence, (start, dx))| {
                let at = sequence * d..(sequence + 1) * d;
                spread(self.reduction, &x[start..start + dx.len()], &y[at.clone()], &dy[at], dx, add);
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::activation::Activation;

    #[test]
    fn max_and_relu_when_a_value_is_nan_keep_it() -> Result<()> {
        for place in 0..3 {
            let mut rows = [1.0, 2.0, 3.0];
            rows[place] = f32::NAN;
            let x = Value::constant(Array::new(rows.to_vec(), (3, 1))?);
            let y = segment_pool(&x, Arc::from([0, 3]), Reduction::Max)?;
            assert!(y.array().values()?[0].is_nan());
        }
        let mut x = [f32::NAN, -1.0, 2.0];
        Activation::Relu.forward(&mut x);
        assert!(x[0].is_nan() && x[1..] == [0.0, 2.0]);
        Ok(())
    }
}
