//! Row lookup `y[t] = table[ids[t]]`; backward adds each row of `dy` into the row it came from.
//!
//! Shapes: `table [V, D]`, `ids [T]`, `y [T, D]`. Also used to pick rows of hidden states.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::access::{f32_slice, tensor, uninit, with_f32};
use super::parallel::{CHUNK, add_rows, for_chunks};

/// Rows `ids` of `table [V, D]`: `[T, D]`. An id outside the table is an error.
pub fn embedding(table: &Tensor, ids: Arc<[u32]>) -> Result<Tensor> {
    table.contiguous()?.apply_op1(Embedding { ids })
}

struct Embedding {
    ids: Arc<[u32]>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (v, d) = layout.shape().dims2()?;
        let table = f32_slice("embedding", table, layout)?;
        if let Some((t, id)) = self.ids.iter().enumerate().find(|(_, id)| **id as usize >= v) {
            bail!("embedding: got id {id} at position {t}, the table has {v} rows")
        }
        let mut out = uninit(self.ids.len() * d);
        let rows = (CHUNK / d.max(1)).max(1);
        for_chunks(&mut out, rows * d, |start, out| {
            let ids = &self.ids[start / d.max(1)..];
            for (row, &id) in out.chunks_exact_mut(d).zip(ids) {
                row.copy_from_slice(&table[id as usize * d..][..d]);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((self.ids.len(), d))))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (v, d) = table.dims2()?;
        with_f32(grad, |grad| {
            let mut sum = vec![0f32; v * d];
            // A task owns a range of table rows and meets their tokens in order: no locks, and always the same sums.
            let rows = v.div_ceil(64).max(1);
            sum.par_chunks_mut((rows * d).max(1)).enumerate().for_each(|(task, part)| {
                let range = task * rows..(task + 1) * rows;
                for (t, &id) in self.ids.iter().enumerate() {
                    if range.contains(&(id as usize)) {
                        add_rows(&mut part[(id as usize - range.start) * d..][..d], &grad[t * d..][..d]);
                    }
                }
            });
            tensor(sum, (v, d)).map(Some)
        })
    }
}
