//! Dropout `y = x * mask / (1 - p)`; the mask is a function of a key and the element's index, recomputed in the backward
//! pass and never stored.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::autograd::{Op, Slot, Value};
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, Storing, for_chunks, operand, put};
use crate::error::Result;
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

    /// `x *= mask / (1 - p)` for the elements from `start` on.
    pub(super) fn mask(&self, start: usize, x: &mut [f32]) {
        mask_in_place(self, start, x);
    }

    /// `out (+)= x * mask / (1 - p)`, for slices of equal length.
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32], add: bool) {
        for_chunks(out, BLOCK, |start, out| masked(self, start, &x[start..start + out.len()], out, add));
    }
}

vectorised! {
    /// `out (+)= x * mask / (1 - p)` for the elements from `start` on.
    fn masked(dropout: &Dropout, start: usize, x: &[f32], out: &mut [f32], add: bool) {
        dropout.for_each(start, out.len(), |i, factor| put(&mut out[i], x[i] * factor, add));
    }
}

vectorised! {
    /// `x *= mask / (1 - p)` for the elements from `start` on.
    fn mask_in_place(dropout: &Dropout, start: usize, x: &mut [f32]) {
        dropout.for_each(start, x.len(), |i, factor| x[i] *= factor);
    }
}

/// Dropout of any shape, f32 or bf16, to the same.
pub fn dropout(x: &Value, dropout: Dropout) -> Result<Value> {
    let n = x.tensor().elem_count();
    let storing = if x.tensor().dtype() == DType::BF16 { Storing::Bf16 } else { Storing::F32 };
    let mut out = Buffer::uninit(storing, n);
    {
        let (x, out) = (operand(x.tensor())?, out.shared());
        (0..n.div_ceil(BLOCK)).into_par_iter().for_each(|block| {
            let range = block * BLOCK..((block + 1) * BLOCK).min(n);
            let mut values = [0f32; BLOCK];
            let values = &mut values[..range.len()];
            x.elements().range(range.clone()).copy_to(values);
            dropout.mask(range.start, values);
            // SAFETY: each task has a range of its own.
            unsafe { out.copy_from(range.start, values) };
        });
    }
    Ok(Value::computed(out.into_tensor(x.tensor().shape())?, &[x], dropout))
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(&self, _: &[&Tensor], mut gradient: Vec<f32>, into: &mut [Slot]) -> Result<()> {
        for_chunks(&mut gradient, BLOCK, |start, dx| self.mask(start, dx));
        into[0].give(gradient)
    }
}
