//! Dropout on the CPU.

use rayon::prelude::*;

use super::mask::{BLOCK, Dropout};
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, CHUNK, Elements, StorageDtype, for_chunks, put};

/// `x * mask / (1 - p)`.
pub(super) fn forward(x: Elements, dropout: &Dropout, dtype: StorageDtype) -> Buffer {
    let n = x.len();
    // SAFETY: every block is written.
    let mut out = unsafe { Buffer::uninit(dtype, n) };
    let shared = out.shared();
    (0..n.div_ceil(BLOCK)).into_par_iter().for_each(|block| {
        let range = block * BLOCK..((block + 1) * BLOCK).min(n);
        let mut values = [0f32; BLOCK];
        let values = &mut values[..range.len()];
        x.range(range.clone()).copy_to(values);
        mask(dropout, range.start, values);
        // SAFETY: each task has a range of its own.
        unsafe { shared.copy_from(range.start, values) };
    });
    out
}

/// `x *= mask / (1 - p)`, in parallel.
pub(in crate::ops) fn mask_all(dropout: &Dropout, x: &mut [f32]) {
    for_chunks(x, CHUNK, |start, x| mask(dropout, start, x));
}

/// `out (+)= x * mask / (1 - p)`, in parallel, for slices of equal length.
pub(in crate::ops) fn masked(dropout: &Dropout, x: &[f32], out: &mut [f32], add: bool) {
    for_chunks(out, BLOCK, |start, out| masked_piece(dropout, start, &x[start..start + out.len()], out, add));
}

/// `out (+)= x * mask / (1 - p)` for the elements from `start` on.
#[inline(always)]
pub(in crate::ops) fn write(dropout: Dropout, start: usize, x: &[f32], out: &mut [f32], add: bool) {
    for (piece, factors) in dropout.factors(start, out.len()) {
        for ((out, x), factor) in out[piece.clone()].iter_mut().zip(&x[piece]).zip(factors) {
            put(out, x * factor, add);
        }
    }
}

vectorised! {
    fn masked_piece(dropout: &Dropout, start: usize, x: &[f32], out: &mut [f32], add: bool) {
        write(*dropout, start, x, out, add);
    }
}

vectorised! {
    /// `x *= mask / (1 - p)` for the elements from `start` on.
    pub(in crate::ops) fn mask(dropout: &Dropout, start: usize, x: &mut [f32]) {
        for (piece, factors) in dropout.factors(start, x.len()) {
            x[piece].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
        }
    }
}
