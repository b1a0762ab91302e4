//! One vector for each packed sequence: the mean or the largest of its rows.
//!
//! Shapes: `x [T, D]`, `cu_seqlens [B + 1]`, `y [B, D]`; a sequence without tokens gives zeros. Backward: the mean spreads
//! `dy / len` over the sequence's rows, the maximum hands `dy` to the first row that held it.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::access::{f32_slice, tensor, with_f32};
use super::parallel::add_assign;
use super::simd::vectorised;

/// How rows become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Mean,
    Max,
}

/// Reduce the rows of each packed sequence of `x [T, D]`: `[B, D]`.
pub fn segment_pool(x: &Tensor, cu_seqlens: Arc<[u32]>, reduction: Reduction) -> Result<Tensor> {
    x.contiguous()?.apply_op1(SegmentPool { cu_seqlens, reduction })
}

struct SegmentPool {
    cu_seqlens: Arc<[u32]>,
    reduction: Reduction,
}

impl SegmentPool {
    fn rows(&self, sequence: usize) -> std::ops::Range<usize> {
        self.cu_seqlens[sequence] as usize..self.cu_seqlens[sequence + 1] as usize
    }
}

vectorised! {
    /// Rows `[_, D]` to `y [D]`, which is zero before.
    fn reduce(reduction: Reduction, rows: &[f32], y: &mut [f32]) {
        let d = y.len();
        match reduction {
            Reduction::Mean => {
                rows.chunks_exact(d).for_each(|row| add_assign(y, row));
                let inverse = 1.0 / (rows.len() / d).max(1) as f32;
                for y in y {
                    *y *= inverse;
                }
            }
            Reduction::Max => {
                let mut rows = rows.chunks_exact(d);
                if let Some(first) = rows.next() {
                    y.copy_from_slice(first);
                }
                for row in rows {
                    y.iter_mut().zip(row).for_each(|(y, &x)| *y = if x > *y { x } else { *y });
                }
            }
        }
    }
}

impl CustomOp1 for SegmentPool {
    fn name(&self) -> &'static str {
        "segment-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, d) = layout.shape().dims2()?;
        let b = self.cu_seqlens.len().saturating_sub(1);
        if d == 0 || self.cu_seqlens.last().is_some_and(|&last| last as usize != t) || !self.cu_seqlens.is_sorted() {
            bail!("segment pool: got x [{t}, {d}] and sequences {:?}", self.cu_seqlens)
        }
        let x = f32_slice("segment-pool", x, layout)?;
        let mut y = vec![0f32; b * d];
        y.par_chunks_mut(d).enumerate().for_each(|(sequence, y)| {
            let rows = &x[self.rows(sequence).start * d..self.rows(sequence).end * d];
            reduce(self.reduction, rows, y);
        });
        Ok((CpuStorage::F32(y), Shape::from((b, d))))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (t, d) = x.dims2()?;
        with_f32(x, |x| {
            with_f32(y, |y| {
                with_f32(grad, |grad| {
                    let mut dx = vec![0f32; t * d];
                    for sequence in 0..self.cu_seqlens.len().saturating_sub(1) {
                        let rows = self.rows(sequence);
                        let (y, grad) = (&y[sequence * d..][..d], &grad[sequence * d..][..d]);
                        match self.reduction {
                            Reduction::Mean => {
                                let inverse = 1.0 / rows.len().max(1) as f32;
                                for row in rows {
                                    dx[row * d..][..d].iter_mut().zip(grad).for_each(|(dx, g)| *dx = g * inverse);
                                }
                            }
                            Reduction::Max => {
                                for column in 0..d {
                                    if let Some(row) = rows.clone().find(|row| x[row * d + column] == y[column]) {
                                        dx[row * d + column] = grad[column];
                                    }
                                }
                            }
                        }
                    }
                    tensor(dx, (t, d)).map(Some)
                })
            })
        })
    }
}
