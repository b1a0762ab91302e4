//! Dropout `y = x * mask / (1 - p)`; the mask is a function of a key and the element's index, recomputed in the backward
//! pass and never stored.

use std::ops::Range;

use candle_core::DType;
use rayon::prelude::*;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, Storing, for_chunks, put};
use crate::error::Result;
use crate::rng::{COUNTERS, Key, hashes32};

/// Elements that share a 32-bit key.
const BLOCK: usize = COUNTERS;

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

    /// `1 / (1 - p)`, by which is multiplied what is kept.
    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// The elements `start .. start + len` in pieces: where each lies, counted from 0, and the factors of its elements, which
    /// are 0 or `1 / (1 - p)`.
    #[inline(always)]
    pub(super) fn factors(
        self,
        start: usize,
        len: usize,
    ) -> impl Iterator<Item = (Range<usize>, impl Iterator<Item = f32>)> {
        let Self { key, threshold, scale } = self;
        (start / BLOCK..(start + len).div_ceil(BLOCK)).map(move |block| {
            let first = block * BLOCK;
            let here = start.max(first)..(start + len).min(first + BLOCK);
            let hashes = hashes32(key.child(block as u64).low32(), here.start - first..here.end - first);
            let factor = move |hash| if hash >= threshold { scale } else { 0.0 };
            (here.start - start..here.end - start, hashes.map(factor))
        })
    }

    /// `out (+)= x * mask / (1 - p)` for the elements from `start` on.
    #[inline(always)]
    pub(super) fn write(self, start: usize, x: &[f32], out: &mut [f32], add: bool) {
        for (piece, factors) in self.factors(start, out.len()) {
            for ((out, x), factor) in out[piece.clone()].iter_mut().zip(&x[piece]).zip(factors) {
                put(out, x * factor, add);
            }
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
        dropout.write(start, x, out, add);
    }
}

vectorised! {
    /// `x *= mask / (1 - p)` for the elements from `start` on.
    fn mask_in_place(dropout: &Dropout, start: usize, x: &mut [f32]) {
        for (piece, factors) in dropout.factors(start, x.len()) {
            x[piece].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
        }
    }
}

/// Dropout of any shape, f32 or bf16, to the same.
pub fn dropout(x: &Value, dropout: Dropout) -> Result<Value> {
    let n = x.array().elem_count();
    let storing = if x.array().dtype() == DType::BF16 { Storing::Bf16 } else { Storing::F32 };
    // SAFETY: every block is written.
    let mut out = unsafe { Buffer::uninit(storing, n) };
    {
        let (x, out) = (x.array().operand()?, out.shared());
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
    Ok(Value::computed(Array::from_buffer(out, x.array().shape())?, &[x], dropout))
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(&self, _: &[&Array], mut gradient: Array, into: &mut [Slot]) -> Result<()> {
        for_chunks(gradient.values_mut()?, BLOCK, |start, dx| self.mask(start, dx));
        into[0].give(gradient)
    }
}
