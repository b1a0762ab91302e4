//! Scaled sums on the CPU.

use rayon::prelude::*;

use crate::compute::{Buffer, CHUNK, Elements, StorageDtype, for_chunks};

/// Number of values held in f32 between steps.
const PIECE: usize = 1024;

/// `a + scale * b`, for values of equal number.
pub(super) fn forward(a: Elements, b: Elements, scale: f32, dtype: StorageDtype) -> Buffer {
    let n = a.len();
    // SAFETY: every piece is written.
    let mut y = unsafe { Buffer::uninit(dtype, n) };
    let shared = y.shared();
    (0..n.div_ceil(PIECE)).into_par_iter().with_min_len(CHUNK / PIECE).for_each(|piece| {
        let range = piece * PIECE..n.min((piece + 1) * PIECE);
        let (sum, term) = (&mut [0f32; PIECE][..range.len()], &mut [0f32; PIECE][..range.len()]);
        a.range(range.clone()).copy_to(sum);
        b.range(range.clone()).copy_to(term);
        sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += scale * *term);
        // SAFETY: each piece is written once.
        unsafe { shared.copy_from(range.start, sum) };
    });
    y
}

/// Turns `dy` into `db`, in place.
pub(super) fn scale(gradient: &mut [f32], scale: f32) {
    for_chunks(gradient, CHUNK, |_, values| values.iter_mut().for_each(|x| *x *= scale));
}
