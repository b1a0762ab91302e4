//! One task of a product: a block of `C`, from its rows of `A` and its columns of `B`.

use std::cell::RefCell;

use super::lines::Lines;
use super::output::Output;
use super::pack::{Panels, Vector};
use super::panel::{COLUMNS, Panel, ROWS};
use super::right::Part;
use super::tile::{self, Tile};
use crate::compute::simd::vectorised;

/// Rows of `C` in one task. With `DEPTH`, the block of `A` takes a twentieth of a second-level cache.
pub(crate) const TASK_ROWS: usize = 4 * ROWS;
/// Columns of `B` that stay in the second-level cache while the rows of a task pass by.
const GROUP: usize = 8 * COLUMNS;

thread_local! {
    /// Memory of a packed block of `A`.
    static LEFT: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
    /// Memory of the rows of a task where `C` is not kept.
    static LENT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Refuse operands that do not fit each other or the output.
pub(super) fn check(rows: &Lines, b: &Part, out: &Output) {
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

/// The columns `left .. right` of the rows of a task that begins at `row`. `shared` are all rows, packed; none if this task is
/// to pack its own.
///
/// # Safety
///
/// The operands fit the output, see [`check`]; these rows and columns of it nobody else touches.
pub(super) unsafe fn block(
    rows: &Lines,
    shared: Option<&Panels>,
    b: &Part,
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
    let in_place = if rows.can_stay(unit) { height / ROWS * ROWS } else { 0 };
    // Depth 0 is a sum without terms.
    let mut begun = false;
    for units in b.ranges() {
        let depth = units.start * unit.depth() - b.depth.start;
        let lines = rows.block(row, height, depth, units.len() * unit.depth());
        let count = if shared.is_some() { 0 } else { height - in_place };
        let packed = Panels::pack_here(lines.block(in_place, count, 0, lines.depth), ROWS, unit, memory);
        // A panel of `A` stays in the first cache, a few of `B` in the second.
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
        // SAFETY: a row of this task, which lies within `C` or what is lent.
        finish(i, left, unsafe { std::slice::from_raw_parts_mut(out.at(i, left), right - left) });
    }
    if !lent.is_empty() {
        LENT.set(lent);
    }
}

/// Write or add a tile's first `height` rows and `width` columns.
///
/// # Safety
///
/// `to` points at that many rows and columns, which nobody else touches.
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

/// Where whole rows of a tile go.
struct Place {
    to: *mut f32,
    stride: usize,
}

impl Place {
    /// # Safety
    ///
    /// As many whole rows as will be stored lie there, and nobody else touches them.
    unsafe fn new(to: *mut f32, stride: usize) -> Self {
        Self { to, stride }
    }
}

vectorised! {
    /// Write or add whole rows of a tile.
    fn store_whole(tile: &[[f32; COLUMNS]], place: Place, add: bool) {
        for (i, row) in tile.iter().enumerate() {
            // SAFETY: when the place was made it was promised that as many whole rows lie there, which nobody else touches.
            let to = unsafe { &mut *place.to.add(i * place.stride).cast::<[f32; COLUMNS]>() };
            if add {
                to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
            } else {
                *to = *row;
            }
        }
    }
}
