//! Splits a product into tasks, for all threads or for this one.

use rayon::prelude::*;

use super::block::{TASK_ROWS, block, check};
use super::matrix_view::MatrixView;
use super::output::Output;
use super::pack::Panels;
use super::panel::{COLUMNS, ROWS};
use super::rhs::RhsView;

/// Number of multiplications below which a product runs on one thread.
pub(super) const SMALL: usize = 1 << 20;

/// Computes `C = A B` in parallel, with `A` given as its rows. `finish(row, column, values)` is called once for each
/// completed piece of a row, which begins at `column`.
pub(crate) fn matmul(rows: MatrixView, b: RhsView, out: Output, finish: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let columns = b.columns.len();
    check(&rows, &b, &out);
    let grid = Grid::new(rows.count, columns, rows.depth);
    let shared = grid.columns > 1 && b.depth.start == 0 && !rows.readable_in_place(b.unit());
    let packed = shared.then(|| Panels::pack(rows, ROWS, b.unit(), Vec::new()));
    let task = |task: usize| {
        let (row, column) = (task / grid.columns * TASK_ROWS, task % grid.columns * grid.width);
        let part = (column, (column + grid.width).min(columns));
        // SAFETY: the operands were checked, and each task has its own rows and columns.
        unsafe { block(&rows, packed.as_ref(), &b, &out, row, part, &finish) };
    };
    if grid.small {
        (0..grid.tasks).for_each(task);
    } else {
        (0..grid.tasks).into_par_iter().for_each(task);
    }
}

/// Like [`product`], on this thread only; `finish(row, values)` gets whole rows.
pub(crate) fn matmul_on_this_thread(rows: MatrixView, b: RhsView, out: Output, finish: impl Fn(usize, &mut [f32])) {
    let columns = b.columns.len();
    check(&rows, &b, &out);
    for row in (0..rows.count).step_by(TASK_ROWS) {
        // SAFETY: the operands were checked, and only this thread writes.
        unsafe { block(&rows, None, &b, &out, row, (0, columns), &|row, _, values: &mut [f32]| finish(row, values)) };
    }
}

/// Grid of tasks over `C`: split by rows first, and by columns too if there would be too few tasks.
struct Grid {
    small: bool,
    tasks: usize,
    /// Tasks per row of the grid.
    columns: usize,
    /// Columns of `C` per task.
    width: usize,
}

impl Grid {
    fn new(m: usize, n: usize, k: usize) -> Self {
        // Counts whole tiles, because they are computed in full, and even for one row all of `B` is read.
        let small = m.next_multiple_of(ROWS) * n * k < SMALL;
        let (rows, panels) = (m.div_ceil(TASK_ROWS), n.div_ceil(COLUMNS));
        let wanted = if small { 1 } else { 8 * rayon::current_num_threads() };
        let columns = wanted.div_ceil(rows.max(1)).clamp(1, panels.max(1));
        let width = panels.div_ceil(columns).max(1) * COLUMNS;
        let columns = n.div_ceil(width);
        Self { small, tasks: rows * columns, columns, width }
    }
}
