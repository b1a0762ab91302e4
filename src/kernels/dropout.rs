//! Dropout `y = x * mask / (1 - p)`; the mask is a function of a key and the element's index, recomputed in the backward
//! pass and never stored.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::access::{f32_slice, tensor, uninit, with_f32};
use super::parallel::for_chunks;
use super::simd::vectorised;
use crate::rng::{Key, hash32};

/// Elements that share a 32-bit key.
const BLOCK: usize = 4096;

/// A probability of dropping and the key the mask follows from.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    key: Key,
    /// Keep where the hash is at least this.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Drop with probability `p` in [0, 1).
    pub fn new(p: f64, key: Key) -> Self {
        Self { key, threshold: (p * (1u64 << 32) as f64) as u32, scale: (1.0 / (1.0 - p)) as f32 }
    }

    /// The same probability with an unrelated mask.
    pub(super) fn child(self, counter: u64) -> Self {
        Self { key: self.key.child(counter), ..self }
    }

    /// `f(i, factor)` for the elements `start .. start + len`: the factor is 0 or 1 / (1 - p), `i` counts from 0.
    #[inline(always)]
    pub(super) fn for_each(&self, start: usize, len: usize, mut f: impl FnMut(usize, f32)) {
        let (threshold, scale) = (self.threshold, self.scale);
        let mut done = 0;
        while done < len {
            let (block, offset) = ((start + done) / BLOCK, (start + done) % BLOCK);
            let here = (BLOCK - offset).min(len - done);
            let key = self.key.child(block as u64).low32();
            for j in 0..here {
                let factor = if hash32(key, (offset + j) as u32) >= threshold { scale } else { 0.0 };
                f(done + j, factor);
            }
            done += here;
        }
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = uninit(x.len());
        for_chunks(&mut out, BLOCK, |start, out| masked(self, start, &x[start..start + out.len()], out));
        out
    }
}

vectorised! {
    /// `out = x * mask / (1 - p)` for the elements from `start` on.
    fn masked(dropout: &Dropout, start: usize, x: &[f32], out: &mut [f32]) {
        dropout.for_each(start, out.len(), |i, factor| out[i] = x[i] * factor);
    }
}

/// Dropout of any shape.
pub fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    x.contiguous()?.apply_op1(dropout)
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice("dropout", x, layout)?;
        Ok((CpuStorage::F32(self.apply(x)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        with_f32(grad, |grad| tensor(self.apply(grad), x.shape())).map(Some)
    }
}
