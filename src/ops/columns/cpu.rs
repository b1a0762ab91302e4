//! Concatenation of matrices along columns, on the CPU.

use crate::compute::put;

/// Copies `x [B, columns]` into the columns of `y [B, width]` from `at` on.
pub(super) fn put_columns(x: &[f32], columns: usize, at: usize, y: &mut [f32], width: usize) {
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(columns)) {
        y[at..at + columns].copy_from_slice(x);
    }
}

/// `dx [B, columns] (+)=` the columns of `dy [B, width]` from `at` on.
pub(super) fn take_columns(dy: &[f32], width: usize, at: usize, dx: &mut [f32], columns: usize, add: bool) {
    for (dx, dy) in dx.chunks_exact_mut(columns.max(1)).zip(dy.chunks_exact(width)) {
        dx.iter_mut().zip(&dy[at..at + columns]).for_each(|(dx, dy)| put(dx, *dy, add));
    }
}
