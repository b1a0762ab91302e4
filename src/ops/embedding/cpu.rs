//! Embedding lookup on the CPU.

use rayon::prelude::*;

use crate::autograd::{PIECE, add_to_pieces};
use crate::compute::{CHUNK, for_chunks, sum_rows_into, uninit};

/// Sum of embeddings from one or more tables `[_, D]`, each with its own ids `[T]`: `[T, D]`.
pub(super) fn sum_of_rows(sources: &[(&[f32], &[u32])], t: usize, d: usize) -> Vec<f32> {
    assert!(!sources.is_empty(), "no tables");
    // SAFETY: the first table, which must exist, writes every row.
    let mut out = unsafe { uninit(t * d) };
    let rows = (CHUNK / d).max(1);
    for_chunks(&mut out, rows * d, |start, out| {
        for (i, row) in out.chunks_exact_mut(d).enumerate() {
            for (n, (table, ids)) in sources.iter().enumerate() {
                let source = &table[ids[start / d + i] as usize * d..][..d];
                if n == 0 { row.copy_from_slice(source) } else { sum_rows_into(row, source) }
            }
        }
    });
    out
}

/// Rows of several tables `[_, D]`, numbered as if the tables were concatenated: `[T, D]`. Panics if a row is in no
/// table.
pub(super) fn stacked_rows(tables: &[&[f32]], rows: &[u32], d: usize) -> Vec<f32> {
    let row = |mut row: usize| {
        tables.iter().find_map(|values| {
            let n = values.len() / d;
            let found = (row < n).then(|| &values[row * d..][..d]);
            row = row.wrapping_sub(n);
            found
        })
    };
    // SAFETY: every row is copied to; the copy panics if a row is in no table.
    let mut out = unsafe { uninit(rows.len() * d) };
    let chunk = (CHUNK / d).max(1);
    for_chunks(&mut out, chunk * d, |start, out| {
        for (out, &index) in out.chunks_exact_mut(d).zip(&rows[start / d..]) {
            out.copy_from_slice(row(index as usize).unwrap_or(&[]));
        }
    });
    out
}

/// `sum[ids[t] - first] += dy[t]` for ids in `first .. first + V`, in the pieces of `sum [V, D]` that they touch.
pub(super) fn scatter(
    dy: &[f32],
    ids: &[u32],
    first: usize,
    [v, d]: [usize; 2],
    sum: &mut [f32],
    written: &mut [bool],
) {
    // A task owns a range of table rows and processes their tokens in order: no locks, and a fixed order of sums. The
    // range is made of whole pieces: `whole` is PIECE, a power of two, divided by its greatest common divisor with D.
    let whole = PIECE >> d.trailing_zeros().min(PIECE.trailing_zeros());
    let rows = v.div_ceil(64).max(1).next_multiple_of(whole);
    let parts = sum.par_chunks_mut(rows * d).zip(written.par_chunks_mut(rows * d / PIECE));
    parts.enumerate().for_each(|(task, (part, written))| {
        let start = first + task * rows;
        let range = start..start + part.len() / d;
        for (t, &id) in ids.iter().enumerate() {
            if range.contains(&(id as usize)) {
                add_to_pieces(part, written, (id as usize - range.start) * d, &dy[t * d..][..d]);
            }
        }
    });
}
