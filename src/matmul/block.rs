//! One task of a matrix product: a block of `C` from rows of `A` and columns of `B`.

use std::cell::RefCell;

use super::matrix_view::MatrixView;
use super::output::Output;
use super::pack::{Panels, Vector};
use super::panel::{COLUMNS, Panel, ROWS};
use super::rhs::RhsView;
use super::tile::{self, Tile};
use crate::compute::simd::vectorised;

/// Rows of `C` per task. With `DEPTH`, the packed block of `A` takes a twentieth of a second-level cache.
pub(crate) const TASK_ROWS: usize = 4 * ROWS;
/// Columns of `B` that stay in the second-level cache while the task goes through its rows.
const GROUP: usize = 8 * COLUMNS;

thread_local! {
    /// Thread-local memory for a packed block of `A`.
    static LEFT: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
    /// Thread-local memory for the rows of a task, if `C` is not stored.
    static LENT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Panics if the operands do not fit each other or the output.
pub(super) fn check(rows: &MatrixView, b: &RhsView, out: &Output) {
    let (m, n, depth) = (rows.count, b.columns.len(), b.depth.len());
    assert!(rows.depth == depth, "operands do not fit: depths {} and {depth}", rows.depth);
    assert!(rows.is_within(), "lines reach beyond their values");
    if m == 0 || n == 0 {
        return;
    }
    let end = (m - 1).checked_mul(out.stride).and_then(|start| start.checked_add(n));
    assert!(end.is_some_and(|end| end <= out.len), "the output is too small");
    assert!(m == 1 || out.values.is_null() || n <= out.stride, "rows of the output overlap");
}

/// Computes the columns `left .. right` of the rows of a task that begins at `row`. `shared` is all of `A`, packed; if
/// None, the task packs its own rows.
///
/// # Safety
///
/// The operands fit the output, see [`check`], and no other thread accesses these rows and columns of it.
pub(super) unsafe fn block(
    rows: &MatrixView,
    shared: Option<&Panels>,
    b: &RhsView,
    out: &Output,
    row: usize,
    (left, right): (usize, usize),
    finish: &impl Fn(usize, usize, &mut [f32]),
) {
    let height = (rows.count - row).min(TASK_ROWS);
    let mut lent = Vec::new();
    let own;
    let out = if out.values.is_null() {
        lent = LENT.take();
        let stride = right - left;
        if lent.len() < height * stride {
            lent.resize(height * stride, 0.0);
        }
        let first = lent.as_mut_ptr().wrapping_sub(row * stride + left);
        // SAFETY: rows and columns of this task lie within it.
        own = unsafe { Output::from_raw(first, usize::MAX, stride, false) };
        &own
    } else {
        out
    };
    let mut memory = LEFT.take();
    let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
    let unit = b.unit();
    let in_place = if rows.readable_in_place(unit) { height / ROWS * ROWS } else { 0 };
    // With depth 0 the result is an empty sum, zero.
    let mut begun = false;
    for units in b.ranges() {
        let depth = units.start * unit.depth() - b.depth.start;
        let lines = rows.block(row, height, depth, units.len() * unit.depth());
        let count = if shared.is_some() { 0 } else { height - in_place };
        let packed = Panels::pack_here(lines.block(in_place, count, 0, lines.depth), ROWS, unit, memory);
        // A panel of `A` stays in the first-level cache, several panels of `B` in the second-level cache.
        for group in (left..right).step_by(GROUP) {
            for i in (0..height).step_by(ROWS) {
                let panel = match shared {
                    Some(shared) => shared.panel((row + i) / ROWS, units.clone()),
                    None if i < in_place => Panel::in_place(&lines, i, 0..units.len()),
                    None => packed.panel((i - in_place) / ROWS, 0..units.len()),
                };
                for j in (group..right.min(group + GROUP)).step_by(COLUMNS) {
                    let size = (ROWS.min(height - i), COLUMNS.min(right - j));
                    tile::multiply(unit, units.len(), panel, b.panel(j, units.clone()), size.0, &mut tile);
                    // SAFETY: the tile lies within `C`, and no other task has it.
                    unsafe { store(&tile, out.at(row + i, j), out.stride, size, out.add || begun) };
                }
            }
        }
        memory = packed.memory;
        begun = true;
    }
    LEFT.set(memory);
    for i in row..row + height {
        // SAFETY: a row of this task, which lies within `C` or the thread's own memory.
        finish(i, left, unsafe { std::slice::from_raw_parts_mut(out.at(i, left), right - left) });
    }
    if !lent.is_empty() {
        LENT.set(lent);
    }
}

/// Writes or adds the first `height` rows and `width` columns of a tile.
///
/// # Safety
///
/// `to` points at that many rows and columns, which no other thread accesses.
unsafe fn store(tile: &Tile, to: *mut f32, stride: usize, (height, width): (usize, usize), add: bool) {
    if width == COLUMNS {
        // SAFETY: the caller promises that so many whole rows lie there, which nobody else touches.
        store_whole(&tile[..height], unsafe { Place::new(to, stride) }, add);
        return;
    }
    for (i, row) in tile[..height].iter().enumerate() {
        // SAFETY: the caller promises that this row lies there and that nobody else touches it.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(i * stride), width) };
        to.iter_mut().zip(row).for_each(|(t, r)| *t = if add { *t + r } else { *r });
    }
}

/// Destination of whole rows of a tile.
struct Place {
    to: *mut f32,
    stride: usize,
}

impl Place {
    /// # Safety
    ///
    /// As many whole rows as will be stored lie there, and no other thread accesses them.
    unsafe fn new(to: *mut f32, stride: usize) -> Self {
        Self { to, stride }
    }
}

vectorised! {
    /// Writes or adds whole rows of a tile.
    fn store_whole(tile: &[[f32; COLUMNS]], place: Place, add: bool) {
        for (i, row) in tile.iter().enumerate() {
            // SAFETY: `Place::new` required that this many whole rows lie there and that no other thread accesses them.
            let to = unsafe { &mut *place.to.add(i * place.stride).cast::<[f32; COLUMNS]>() };
            if add {
                to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
            } else {
                *to = *row;
            }
        }
    }
}
