//! Attention on the CPU. A task is one key head of one sequence.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::head::{BLOCK, Head, Rows};
use super::scheme::Scheme;
use super::scratch::with_scratch;
use super::softmax::{exponentials, softmax_backward};
use crate::compute::{Buffer, Elements, SharedBuffer, SharedSlice, StorageDtype, uninit};
use crate::matmul::{COLUMNS, MatrixView, Output, Packed, Precision, matmul_on_this_thread};

/// An output gradient that tasks write, and whether they add to it; None if it is not needed.
type Gradient<'a> = Option<(SharedSlice<'a>, bool)>;

/// Settings shared by all tasks.
pub(super) struct Kernel<'a> {
    pub scheme: &'a Scheme,
    pub precision: Precision,
}

/// A block of queries whose scores are held at once.
struct Block {
    row: usize,
    rows: usize,
    /// Keys that have a score: those some query of the block sees, extended to whole panels of the packed keys.
    keys: Range<usize>,
}

impl Kernel<'_> {
    /// Returns the output `[T, heads * d]`, and the log-sum-exp of each row of scores, `[H, T]`.
    ///
    /// # Safety
    ///
    /// `q, k, v` have `tokens` rows and fit the scheme, see [`Scheme::check`].
    pub unsafe fn forward(&self, [q, k, v]: [Elements; 3], tokens: usize, dtype: StorageDtype) -> (Buffer, Vec<f32>) {
        // SAFETY: there is a task for each head of each sequence, and it writes the rows of that head's queries.
        let (mut out, mut log_sum_exp) =
            unsafe { (Buffer::uninit(dtype, q.len()), uninit(tokens * self.scheme.heads)) };
        let (shared, lse) = (out.shared(), SharedSlice::new(&mut log_sum_exp));
        let tasks = tasks(self.scheme, tokens, k.len());
        tasks.par_iter().for_each(|key| self.forward_task(key, [q, k, v], shared, lse, tokens));
        (out, log_sum_exp)
    }

    /// Computes the gradients of `q, k, v` that are needed; each is completely overwritten, or added to.
    ///
    /// # Safety
    ///
    /// The conditions of [`Kernel::forward`] hold, and `log_sum_exp` comes from it.
    pub unsafe fn backward(
        &self,
        [q, k, v]: [Elements; 3],
        log_sum_exp: &[f32],
        gradient: &[f32],
        into: [Option<(&mut [f32], bool)>; 3],
    ) {
        // Together the tasks write every row and column.
        let outputs = into.map(|slot| slot.map(|(values, add)| (SharedSlice::new(values), add)));
        let tasks = tasks(self.scheme, log_sum_exp.len() / self.scheme.heads, k.len());
        tasks.par_iter().for_each(|key| self.backward_task(key, [q, k, v], gradient, outputs, log_sum_exp));
    }

    fn pack(&self, columns: MatrixView) -> Packed {
        Packed::new_here(columns, self.precision)
    }

    /// The rows at positions from `first` on, with rotary embedding applied (into `scratch`) if the scheme has one.
    fn rotated<'a>(&self, rows: MatrixView<'a>, first: usize, scratch: &'a mut [f32]) -> MatrixView<'a> {
        match &self.scheme.rotary {
            Some(rotary) => rotary.forward(&rows, first, scratch),
            None => rows,
        }
    }

    /// Number of scratch values for the scores of a block, for its rotated queries, and for all rotated keys.
    fn scratch(&self, key: &Head) -> (usize, usize, usize) {
        let (rows, size) = (BLOCK.min(key.len), if self.scheme.rotary.is_some() { key.size } else { 0 });
        (rows * key.len, rows * size, key.len * size)
    }

    fn forward_task(
        &self,
        key: &Head,
        [q, k, v]: [Elements; 3],
        out: SharedBuffer,
        log_sum_exp: SharedSlice,
        tokens: usize,
    ) {
        let (scheme, len, scale) = (self.scheme, key.len, 1.0 / (key.size as f32).sqrt());
        let (scores, queries, keys) = self.scratch(key);
        with_scratch([scores, queries, keys], |[p, queries, keys]| {
            let keys = self.pack(self.rotated(key.rows(k, 0, len), 0, keys));
            let values = self.pack(key.rows(v, 0, len).transposed());
            for (head, block) in
                query_heads(scheme, key).flat_map(|head| blocks(scheme, len).map(move |block| (head, block)))
            {
                let (row, rows, width) = (block.row, block.rows, block.keys.len());
                let inverses = [const { Cell::new(0.0) }; BLOCK];
                let queries = self.rotated(head.rows(q, row, rows), row, queries);
                matmul_on_this_thread(
                    queries,
                    keys.columns(block.keys.clone()),
                    Output::new(p, width, false),
                    |i, p| {
                        let seen = scheme.span.keys(row + i, 1, len);
                        let p = keep(p, &seen, block.keys.start);
                        let (max, sum) =
                            exponentials(p, scale, scheme.row_dropout(head.first + row + i, head.index), seen.start);
                        inverses[i].set(1.0 / sum);
                        // SAFETY: [H, T], each entry belongs to one task.
                        unsafe { *log_sum_exp.at(head.index * tokens + head.first + row + i) = max + sum.ln() };
                    },
                );
                let attended = MatrixView::rows(&*p, rows, width);
                let normalise = |i: usize, attended: &mut [f32]| {
                    for x in attended {
                        *x *= inverses[i].get();
                    }
                };
                // SAFETY: a task writes its own sequence and head alone.
                unsafe { head.product(attended, values.depths(block.keys), out, row, normalise) };
            }
        });
    }

    fn backward_task(
        &self,
        key: &Head,
        [q, k, v]: [Elements; 3],
        grad: &[f32],
        [dq, dk, dv]: [Gradient; 3],
        log_sum_exp: &[f32],
    ) {
        let (scheme, len, scale) = (self.scheme, key.len, 1.0 / (key.size as f32).sqrt());
        let tokens = log_sum_exp.len() / scheme.heads;
        let (scores, queries, keys) = self.scratch(key);
        with_scratch([scores, scores, queries, keys, keys], |[p, dp, queries, keys, rotated_dk]| {
            let rows = self.rotated(key.rows(k, 0, len), 0, keys);
            let (keys, values) = (self.pack(rows), self.pack(key.rows(v, 0, len)));
            let key_columns = dq.map(|_| self.pack(rows.transposed()));
            // SAFETY: a task writes its own sequence and head alone.
            let dv = dv.map(|dv| unsafe { key.part(dv) });
            let dk_sum = dk.map(|dk| match scheme.rotary {
                Some(_) => Rows::of(rotated_dk, key.size),
                // SAFETY: a task writes its own sequence and head alone.
                None => unsafe { key.part(dk) },
            });
            // Gradients of the keys before `begun` already hold a sum over earlier queries.
            let mut begun = 0;
            for (head, block) in
                query_heads(scheme, key).flat_map(|head| blocks(scheme, len).map(move |block| (head, block)))
            {
                let (row, rows, width) = (block.row, block.rows, block.keys.len());
                let queries = self.rotated(head.rows(q, row, rows), row, queries);
                let grad = head.rows(grad.into(), row, rows);
                matmul_on_this_thread(
                    queries,
                    keys.columns(block.keys.clone()),
                    Output::new(p, width, false),
                    |_, _| {},
                );
                matmul_on_this_thread(
                    grad,
                    values.columns(block.keys.clone()),
                    Output::new(dp, width, false),
                    |_, _| {},
                );
                let lse = &log_sum_exp[head.index * tokens + head.first + row..];
                for (i, (p, dp)) in p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width)).take(rows).enumerate() {
                    let seen = scheme.span.keys(row + i, 1, len);
                    let (p, dp) = (keep(p, &seen, block.keys.start), keep(dp, &seen, block.keys.start));
                    softmax_backward(
                        p,
                        dp,
                        scale,
                        lse[i],
                        scheme.row_dropout(head.first + row + i, head.index),
                        seen.start,
                    );
                }
                if let Some(dv) = dv {
                    add_to_keys(p, &self.pack(grad.transposed()), &block.keys, begun, dv);
                }
                if let (Some(dq), Some(keys)) = (dq, &key_columns) {
                    // SAFETY: a task writes its own sequence and head alone.
                    let (dq, keys) = (unsafe { head.part(dq) }, keys.depths(block.keys.clone()));
                    let ds = MatrixView::rows(&*dp, rows, width);
                    match &scheme.rotary {
                        Some(rotary) => matmul_on_this_thread(ds, keys, Output::scratch(), |i, rotated| {
                            rotary.backward(row + i, rotated);
                            dq.put(row + i, rotated);
                        }),
                        None => matmul_on_this_thread(ds, keys, dq.output(row, false), |_, _| {}),
                    }
                }
                if let Some(dk) = dk_sum {
                    add_to_keys(dp, &self.pack(queries.transposed()), &block.keys, begun, dk);
                }
                begun = begun.max(block.keys.end);
            }
            if let (Some(rotary), Some(dk)) = (&scheme.rotary, dk) {
                // SAFETY: a task writes its own sequence and head alone.
                let dk = unsafe { key.part(dk) };
                for (row, rotated) in rotated_dk.chunks_exact_mut(key.size).take(len).enumerate() {
                    rotary.backward(row, rotated);
                    dk.put(row, rotated);
                }
            }
        });
    }
}

/// The tasks: each head of keys in each sequence, for `tokens` tokens and `len` key values.
fn tasks(scheme: &Scheme, tokens: usize, len: usize) -> Vec<Head> {
    let (starts, key_heads) = (&scheme.cu_seqlens, scheme.key_heads);
    let width = len.checked_div(tokens).unwrap_or(0);
    let size = width / key_heads;
    let sequences = starts.windows(2).map(|w| (w[0] as usize, (w[1] - w[0]) as usize)).filter(|&(_, len)| len > 0);
    let task = |(first, len)| (0..key_heads).map(move |index| Head { first, len, index, size, width });
    sequences.flat_map(task).collect()
}

/// The query heads that share a key head (grouped-query attention).
fn query_heads(scheme: &Scheme, key: &Head) -> impl Iterator<Item = Head> + use<> {
    let (key, group) = (*key, scheme.heads / scheme.key_heads);
    (0..group).map(move |i| Head { index: key.index * group + i, width: key.width * group, ..key })
}

/// Blocks of queries of a sequence of `len` tokens.
fn blocks(scheme: &Scheme, len: usize) -> impl Iterator<Item = Block> + use<> {
    let span = scheme.span;
    (0..len).step_by(BLOCK).map(move |row| {
        let rows = BLOCK.min(len - row);
        let seen = span.keys(row, rows, len);
        Block { row, rows, keys: seen.start / COLUMNS * COLUMNS..seen.end.next_multiple_of(COLUMNS).min(len) }
    })
}

/// The part of a row of scores that its query sees, where keys begin at `first`. Probabilities outside it are set to
/// zero.
fn keep<'a>(row: &'a mut [f32], seen: &Range<usize>, first: usize) -> &'a mut [f32] {
    let (start, end) = (seen.start - first, seen.end - first);
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    &mut row[start..end]
}

/// Adds `scores^T B` to the key gradients `sums`, for scores `[rows, keys]` of a block and `B [rows, d]`. Keys from
/// `begun` on have no sum yet and are overwritten.
fn add_to_keys(scores: &[f32], b: &Packed, keys: &Range<usize>, begun: usize, sums: Rows) {
    let begun = begun.clamp(keys.start, keys.end);
    let ([_, rows], width) = (b.shape(), keys.len());
    for (keys_of, add) in [(keys.start..begun, true), (begun..keys.end, false)] {
        if !keys_of.is_empty() {
            let values = scores[keys_of.start - keys.start..].into();
            let lines = MatrixView { values, count: keys_of.len(), depth: rows, line_stride: 1, depth_stride: width };
            matmul_on_this_thread(lines, b.whole(), sums.output(keys_of.start, add), |_, _| {});
        }
    }
}
