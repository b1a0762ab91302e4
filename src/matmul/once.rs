//! Products whose right operand is used only once: each task packs a few panels, multiplies, and discards them.
//!
//! The results are bitwise equal to those of [`super::product`] with the operand packed beforehand. Packed panels stay
//! in the second-level cache and only `C` is written to memory, so a product of few rows costs little more than reading
//! the operand, and touches no new pages.

use std::cell::RefCell;

use rayon::prelude::*;

use super::block::{TASK_ROWS, block, check};
use super::matrix_view::MatrixView;
use super::number::{Precision, Unit};
use super::output::Output;
use super::pack::{Panels, Vector};
use super::panel::COLUMNS;
use super::rhs::Packed;
use super::tasks::SMALL;

/// Largest number of rows that counts as few; with more rows, multiplying outweighs packing.
pub(crate) const MAX_ROWS_UNPACKED: usize = TASK_ROWS;
/// Bytes that a task packs: half of a second-level cache.
const PIECE: usize = 512 << 10;

thread_local! {
    /// Thread-local memory for the packed panels.
    static RIGHT: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
}

/// Computes `C = A B`, with `A` given as its rows and `B` as its columns; `finish` as in [`super::product`].
pub(crate) fn matmul_streaming_rhs(
    rows: MatrixView,
    columns: MatrixView,
    precision: Precision,
    out: Output,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (unit, n) = (Unit::of(precision), columns.count);
    let small = rows.count * n * rows.depth < SMALL;
    let width = width(n, columns.depth * precision.bytes(), if small { 1 } else { rayon::current_num_threads() });
    let task = |i: usize| {
        let (first, count) = (i * width, width.min(n - i * width));
        let piece = columns.block(first, count, 0, columns.depth);
        let packed = Packed(Panels::pack_here(piece, COLUMNS, unit, RIGHT.take()));
        let out = out.at_column(first);
        check(&rows, &packed.whole(), &out);
        let finish = |row, column, y: &mut [f32]| finish(row, first + column, y);
        for row in (0..rows.count).step_by(TASK_ROWS) {
            // SAFETY: the operands were checked, and each task has its own columns.
            unsafe { block(&rows, None, &packed.whole(), &out, row, (0, count), &finish) };
        }
        RIGHT.set(packed.0.memory);
    };
    let tasks = n.div_ceil(width);
    if small {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// Columns per task: whole panels that fit the cache, and several tasks for each thread.
fn width(columns: usize, bytes: usize, threads: usize) -> usize {
    let panels = columns.div_ceil(COLUMNS);
    let fitting = PIECE / (COLUMNS * bytes).max(1);
    panels.div_ceil(4 * threads).min(fitting).max(1) * COLUMNS
}
