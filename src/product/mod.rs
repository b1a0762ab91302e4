//! The matrix product all operations share: `C [m, n] = A [m, k] B [k, n]`.
//!
//! `B` is packed into panels, `A` too, a block at a time, by the task that needs it (`pack.rs`); both are rounded on the way
//! (`number.rs`). Tiles of `C` are summed in registers (`tile.rs`), and the rows of `C` are finished by the caller while they
//! are in the cache. The scheme is that of Goto and van de Geijn (2008). Every value of `C` is summed in the same order
//! whatever the number of threads.

mod int8;
mod number;
mod once;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
#[cfg(test)]
mod tests;
mod tile;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::compute::simd::vectorised;
use number::Unit;
use pack::{DEPTH, Panels, ROWS, Vector};
use tile::Tile;

pub use int8::Int8Weight;
pub use number::{Format, Precision};
pub(crate) use once::{FEW, product_once};
pub(crate) use pack::{COLUMNS, Lines};

/// Rows of `C` in one task. With `DEPTH`, the block of `A` takes a twentieth of a second-level cache.
pub(crate) const TASK_ROWS: usize = 4 * ROWS;
/// Columns of `B` that stay in the second-level cache while the rows of a task pass by.
const GROUP: usize = 8 * COLUMNS;
/// Multiplications below which a product is not worth other threads.
const SMALL: usize = 1 << 20;

/// A packed right operand `B`.
pub struct Packed(Panels);

impl Packed {
    /// Pack `B`, given as its columns.
    pub(crate) fn new(columns: Lines, precision: Precision) -> Self {
        Self::with_unit(columns, Unit::of(precision), Vec::new())
    }

    /// The same on this thread alone.
    pub(crate) fn new_here(columns: Lines, precision: Precision) -> Self {
        Self(Panels::pack_here(columns, COLUMNS, Unit::of(precision), Vec::new()))
    }

    fn with_unit(columns: Lines, unit: Unit, memory: Vec<Vector>) -> Self {
        Self(Panels::pack(columns, COLUMNS, unit, memory))
    }

    /// Columns and depth.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.0.count, self.0.depth]
    }

    pub(crate) fn whole(&self) -> Part<'_> {
        Part { panels: &self.0, columns: 0..self.0.count, depth: 0..self.0.depth }
    }

    /// A range of columns, which begins with a panel.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Part<'_> {
        assert!(columns.start.is_multiple_of(COLUMNS) && columns.end <= self.0.count, "{columns:?} are no panels");
        Part { columns, ..self.whole() }
    }

    /// A range of depth, which begins and ends with a unit: the last one may be cut short by the end of the depth alone.
    pub(crate) fn depths(&self, depth: Range<usize>) -> Part<'_> {
        let whole = |d: usize| d.is_multiple_of(self.0.unit.depth()) || d == self.0.depth;
        assert!(whole(depth.start) && whole(depth.end) && depth.end <= self.0.depth, "{depth:?} are no units");
        Part { depth, ..self.whole() }
    }
}

/// A packed right operand, or a part of it.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    panels: &'a Panels,
    columns: Range<usize>,
    depth: Range<usize>,
}

impl Part<'_> {
    /// What there is of each range of depth that was packed together, in units. A depth of 0 is one without units.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let depth = self.panels.unit.depth();
        let (start, end) = (self.depth.start / depth, self.depth.end.div_ceil(depth));
        let first = start / DEPTH * DEPTH;
        (first..end.max(first + 1)).step_by(DEPTH).map(move |range| range.max(start)..end.min(range + DEPTH))
    }
}

/// Where a product goes: `C`, row-major with `stride` from row to row.
pub(crate) struct Output<'a> {
    /// Null where `C` is not kept.
    values: *mut f32,
    len: usize,
    stride: usize,
    /// Add to what is there; else overwrite.
    add: bool,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write to parts of `C` that have nothing in common.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Into `values`.
    pub fn new(values: &'a mut [f32], stride: usize, add: bool) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), stride, add, lifetime: PhantomData }
    }

    /// Into memory of which others hold the columns between the rows of `C`.
    ///
    /// # Safety
    ///
    /// The rows of `C` lie within one allocation that outlives this, and nobody else touches them.
    pub unsafe fn from_raw(values: *mut f32, stride: usize, add: bool) -> Self {
        Self { values, len: usize::MAX, stride, add, lifetime: PhantomData }
    }

    /// Nowhere: whoever finishes the rows takes the values along.
    pub fn lent() -> Self {
        Self { values: std::ptr::null_mut(), len: usize::MAX, stride: 0, add: false, lifetime: PhantomData }
    }

    /// The same from a column on.
    fn at_column(&self, column: usize) -> Output<'_> {
        let values = if self.values.is_null() { self.values } else { self.at(0, column) };
        Output { values, len: self.len - column, ..*self }
    }

    /// The value at `row` and `column`.
    fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.values.wrapping_add(row * self.stride + column)
    }
}

thread_local! {
    /// Memory of a packed block of `A`.
    static LEFT: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
    /// Memory of the rows of a task where `C` is not kept.
    static LENT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `C = A B` in parallel, `A` given as its rows. `finish(row, column, values)` is called once for each piece of a row, which
/// begins at `column`, when it is complete.
pub(crate) fn product(rows: Lines, b: &Packed, out: Output, finish: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let b = b.whole();
    let columns = b.columns.len();
    check(&rows, &b, &out);
    let grid = Grid::new(rows.count, columns, rows.depth);
    let task = |task: usize| {
        let (row, column) = (task / grid.columns * TASK_ROWS, task % grid.columns * grid.width);
        block(&rows, &b, &out, row, (column, (column + grid.width).min(columns)), &finish);
    };
    if grid.small {
        (0..grid.tasks).for_each(task);
    } else {
        (0..grid.tasks).into_par_iter().for_each(task);
    }
}

/// As [`product`] on this thread alone, with a part of `B`; `finish(row, values)` gets whole rows.
pub(crate) fn product_here(rows: Lines, b: Part, out: Output, finish: impl Fn(usize, &mut [f32])) {
    let columns = b.columns.len();
    check(&rows, &b, &out);
    for row in (0..rows.count).step_by(TASK_ROWS) {
        block(&rows, &b, &out, row, (0, columns), &|row, _, values: &mut [f32]| finish(row, values));
    }
}

fn check(rows: &Lines, b: &Part, out: &Output) {
    let (m, n, depth) = (rows.count, b.columns.len(), b.depth.len());
    assert!(rows.depth == depth, "operands do not fit: depths {} and {depth}", rows.depth);
    assert!(m == 0 || n == 0 || (m - 1) * out.stride + n <= out.len, "the output is too small");
}

/// The columns `left .. right` of the rows of a task that begins at `row`.
fn block(
    rows: &Lines,
    b: &Part,
    out: &Output,
    row: usize,
    (left, right): (usize, usize),
    finish: &impl Fn(usize, usize, &mut [f32]),
) {
    let (height, packed) = ((rows.count - row).min(TASK_ROWS), b.panels);
    let mut lent = Vec::new();
    let own;
    let out = if out.values.is_null() {
        lent = LENT.take();
        let stride = right - left;
        if lent.len() < height * stride {
            lent.resize(height * stride, 0.0);
        }
        // SAFETY: rows and columns of this task lie within it.
        own = unsafe { Output::from_raw(lent.as_mut_ptr().wrapping_sub(row * stride + left), stride, false) };
        &own
    } else {
        out
    };
    let mut memory = LEFT.take();
    let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
    let (unit, first_panel) = (packed.unit, b.columns.start / COLUMNS);
    // Depth 0 is a sum without terms.
    let mut begun = false;
    for units in b.ranges() {
        let depth = units.start * unit.depth() - b.depth.start;
        let a = Panels::pack_here(rows.block(row, height, depth, units.len() * unit.depth()), ROWS, unit, memory);
        // A panel of `A` stays in the first cache, a few of `B` in the second.
        for group in (left..right).step_by(GROUP) {
            for i in (0..height).step_by(ROWS) {
                for j in (group..right.min(group + GROUP)).step_by(COLUMNS) {
                    let panel = packed.panel(first_panel + j / COLUMNS, units.clone());
                    let size = (ROWS.min(height - i), COLUMNS.min(right - j));
                    tile::multiply(unit, a.panel(i / ROWS, 0..units.len()), panel, size.0, &mut tile);
                    // SAFETY: the tile lies within `C`, and no other task has it.
                    unsafe { store(&tile, out.at(row + i, j), out.stride, size, out.add || begun) };
                }
            }
        }
        memory = a.memory;
        begun = true;
    }
    LEFT.set(memory);
    for i in row..row + height {
        // SAFETY: as above.
        finish(i, left, unsafe { std::slice::from_raw_parts_mut(out.at(i, left), right - left) });
    }
    if !lent.is_empty() {
        LENT.set(lent);
    }
}

/// How `C` is cut into tasks: rows first, columns too where there would be too few.
struct Grid {
    small: bool,
    tasks: usize,
    /// Tasks beside each other.
    columns: usize,
    /// Columns of `C` in one task.
    width: usize,
}

impl Grid {
    fn new(m: usize, n: usize, k: usize) -> Self {
        // Counted in whole tiles: that is what is multiplied, and of one row all of `B` is read.
        let small = m.next_multiple_of(ROWS) * n * k < SMALL;
        let (rows, panels) = (m.div_ceil(TASK_ROWS), n.div_ceil(COLUMNS));
        let wanted = if small { 1 } else { 8 * rayon::current_num_threads() };
        let columns = wanted.div_ceil(rows.max(1)).clamp(1, panels.max(1));
        let width = panels.div_ceil(columns).max(1) * COLUMNS;
        let columns = n.div_ceil(width);
        Self { small, tasks: rows * columns, columns, width }
    }
}

/// Write or add a tile's first `height` rows and `width` columns.
///
/// # Safety
///
/// `to` points at that many rows and columns, which nobody else touches.
unsafe fn store(tile: &Tile, to: *mut f32, stride: usize, (height, width): (usize, usize), add: bool) {
    if width == COLUMNS {
        store_whole(&tile[..height], Place { to, stride }, add);
        return;
    }
    for (i, row) in tile[..height].iter().enumerate() {
        // SAFETY: as above.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(i * stride), width) };
        to.iter_mut().zip(row).for_each(|(t, r)| *t = if add { *t + r } else { *r });
    }
}

/// Where whole rows of a tile go: memory that nobody else touches.
struct Place {
    to: *mut f32,
    stride: usize,
}

vectorised! {
    /// Write or add whole rows of a tile.
    fn store_whole(tile: &[[f32; COLUMNS]], place: Place, add: bool) {
        for (i, row) in tile.iter().enumerate() {
            // SAFETY: what the caller of `store` promises.
            let to = unsafe { &mut *place.to.add(i * place.stride).cast::<[f32; COLUMNS]>() };
            if add {
                to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
            } else {
                *to = *row;
            }
        }
    }
}
