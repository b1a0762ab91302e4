//! The matrix product all operations share: `C [m, n] = A [m, k] B [k, n]`.
//!
//! `B` is packed into panels, `A` too, a block at a time, by the task that needs it (`pack.rs`); both are rounded on the way
//! (`number.rs`). Tiles of `C` are summed in registers (`tile.rs`), and a block of `C` is finished by the caller while it is
//! in the cache. The scheme is that of Goto and van de Geijn (2008). Every value of `C` is summed in the same order whatever
//! the number of threads.

mod int8;
mod number;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod tile;

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::simd::vectorised;
use number::Unit;
use pack::{COLUMNS, Panels, ROWS, Vector};
use tile::Tile;

pub use int8::Int8Weight;
pub use number::Precision;
pub use pack::Lines;

/// Rows of `C` in one task, in tiles. With `DEPTH`, a block of `A` takes a tenth of a second-level cache.
const ROW_TILES: usize = 4;
/// Columns of `B` that stay in the second-level cache while the rows of a task pass by.
const GROUP: usize = 8 * COLUMNS;
/// Units of depth summed in registers before `C` is touched.
const DEPTH: usize = 256;
/// Multiplications below which a product is not worth other threads.
const SMALL: usize = 1 << 20;

/// A packed right operand `B`.
pub struct Packed(Panels);

impl Packed {
    /// Pack `B`, given as its columns.
    pub fn new(columns: Lines, precision: Precision) -> Self {
        Self::with_unit(columns, Unit::of(precision))
    }

    fn with_unit(columns: Lines, unit: Unit) -> Self {
        Self(Panels::pack(columns, COLUMNS, unit, Vec::new()))
    }

    fn unit(&self) -> Unit {
        self.0.unit
    }
}

/// Where a product goes: `C`, row-major with `stride` from row to row.
pub(super) struct Output<'a> {
    pub values: &'a mut [f32],
    pub stride: usize,
    /// Add to what is there; else overwrite.
    pub add: bool,
}

#[derive(Clone, Copy)]
struct Shared(*mut f32);
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Memory of packed right operands, used again.
static RIGHT: Mutex<Vec<Vec<Vector>>> = Mutex::new(Vec::new());

thread_local! {
    /// Memory of a packed block of `A`.
    static LEFT: RefCell<Vec<Vector>> = const { RefCell::new(Vec::new()) };
}

/// `C = A B`, `A` given as its rows and `B` as its columns; `finish` as in [`packed_product`].
pub(super) fn product(
    rows: Lines,
    columns: Lines,
    precision: Precision,
    out: Output,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let memory = RIGHT.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    let b = Packed(Panels::pack(columns, COLUMNS, Unit::of(precision), memory));
    packed_product(rows, &b, out, finish);
    RIGHT.lock().unwrap_or_else(PoisonError::into_inner).push(b.0.into_memory());
}

/// `C = A B` with `B` packed. `finish(row, column, values)` is called once for each piece of a row, which begins at `column`,
/// when it is complete.
pub(super) fn packed_product(
    rows: Lines,
    b: &Packed,
    out: Output,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (m, n, b) = (rows.count, b.0.count, &b.0);
    assert!(rows.depth == b.depth, "operands do not fit: depths {} and {}", rows.depth, b.depth);
    assert!(m == 0 || n == 0 || (m - 1) * out.stride + n <= out.values.len(), "the output is too small");
    let grid = Grid::new(m, n, rows.depth);
    let values = Shared(out.values.as_mut_ptr());
    let task = |task: usize| {
        let (row, column) = (task / grid.columns * ROW_TILES * ROWS, task % grid.columns * grid.width);
        let (height, right) = ((m - row).min(ROW_TILES * ROWS), (column + grid.width).min(n));
        let mut memory = LEFT.take();
        let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
        // Depth 0 is a sum without terms.
        for unit in (0..b.units.max(1)).step_by(DEPTH) {
            let units = DEPTH.min(b.units - unit);
            let a = Panels::pack_here(rows.block(row, height, unit * b.unit.depth(), units * b.unit.depth()), ROWS, b.unit, memory);
            // A panel of `A` stays in the first cache, a few of `B` in the second.
            for group in (column..right).step_by(GROUP) {
                for i in (0..height).step_by(ROWS) {
                    for j in (group..right.min(group + GROUP)).step_by(COLUMNS) {
                        let b_panel = &b.panel(j / COLUMNS)[unit * COLUMNS..][..units * COLUMNS];
                        tile::multiply(b.unit, a.panel(i / ROWS), b_panel, &mut tile);
                        let to = values.at((row + i) * out.stride + j);
                        let (height, width) = (ROWS.min(height - i), COLUMNS.min(n - j));
                        // SAFETY: the tile lies within `C`, and no other task has it.
                        unsafe { store(&tile, to, out.stride, height, width, out.add || unit > 0) };
                    }
                }
            }
            memory = a.into_memory();
        }
        LEFT.set(memory);
        for i in row..row + height {
            // SAFETY: as above.
            let piece = unsafe { std::slice::from_raw_parts_mut(values.at(i * out.stride + column), right - column) };
            finish(i, column, piece);
        }
    };
    if m * n * rows.depth < SMALL {
        (0..grid.tasks).for_each(task);
    } else {
        (0..grid.tasks).into_par_iter().for_each(task);
    }
}

/// How `C` is cut into tasks: rows first, columns too where there would be too few.
struct Grid {
    tasks: usize,
    /// Tasks beside each other.
    columns: usize,
    /// Columns of `C` in one task.
    width: usize,
}

impl Grid {
    fn new(m: usize, n: usize, k: usize) -> Self {
        let rows = m.div_ceil(ROW_TILES * ROWS);
        let panels = n.div_ceil(COLUMNS);
        let wanted = if m * n * k < SMALL { 1 } else { 8 * rayon::current_num_threads() };
        let columns = wanted.div_ceil(rows.max(1)).clamp(1, panels.max(1));
        let width = panels.div_ceil(columns).max(1) * COLUMNS;
        let columns = n.div_ceil(width);
        Self { tasks: rows * columns, columns, width }
    }
}

/// Write or add a tile's first `height` rows and `width` columns.
///
/// # Safety
///
/// `to` points at that many rows and columns, which nobody else touches.
unsafe fn store(tile: &Tile, to: *mut f32, stride: usize, height: usize, width: usize, add: bool) {
    for (i, row) in tile[..height].iter().enumerate() {
        // SAFETY: what the caller promises.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(i * stride), width) };
        if width == COLUMNS { store_row(&row[..], to, add) } else { store_row(&row[..width], to, add) }
    }
}

vectorised! {
    fn store_row(row: &[f32], to: &mut [f32], add: bool) {
        if add {
            to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
        } else {
            to.copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        crate::rng::Key::new(seed, crate::rng::Stream::Init).normal(n, 1.0)
    }

    /// `A B` in f64 from operands rounded by `round`, and the sum of absolute terms that bounds the error of each value.
    fn reference(rows: Lines, columns: Lines, round: impl Fn(f32) -> f32) -> (Vec<f64>, Vec<f64>) {
        let at = |l: &Lines, i: usize, j: usize| f64::from(round(l.values[i * l.line_stride + j * l.depth_stride]));
        let terms = |i: usize, j: usize| (0..rows.depth).map(move |d| (i, j, d));
        let term = |(i, j, d): (usize, usize, usize)| at(&rows, i, d) * at(&columns, j, d);
        let cells = (0..rows.count).flat_map(|i| (0..columns.count).map(move |j| (i, j)));
        cells.map(|(i, j)| (terms(i, j).map(term).sum::<f64>(), terms(i, j).map(|t| term(t).abs()).sum::<f64>())).unzip()
    }

    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [14, 32, 256],
        [15, 33, 257],
        [3, 70, 2],
        [57, 31, 513],
        [130, 65, 40],
        [113, 300, 77],
        [2, 5, 0],
    ];

    fn check(precision: Precision, round: fn(f32) -> f32) {
        for [m, n, k] in SIZES {
            let (a, b) = (values(m * k, 1), values(n * k, 2));
            for rows in [Lines::rows(&a, m, k), Lines::columns(&a, m, k)] {
                for columns in [Lines::rows(&b, n, k), Lines::columns(&b, n, k)] {
                    for (add, stride) in [(false, n), (true, n + 3)] {
                        let mut out = vec![0.25f32; m * stride];
                        product(rows, columns, precision, Output { values: &mut out, stride, add }, |_, _, piece| {
                            piece.iter_mut().for_each(|x| *x += 1.0);
                        });
                        let (want, bound) = reference(rows, columns, round);
                        for (i, (want, bound)) in want.iter().zip(bound).enumerate() {
                            let got = f64::from(out[i / n * stride + i % n]);
                            let want = want + if add { 1.25 } else { 1.0 };
                            assert!((got - want).abs() <= 4e-7 * (bound + 2.0), "{m}x{n}x{k} {precision:?}: {got} {want}");
                        }
                        let untouched = |i: &usize| i % stride >= n;
                        assert!((0..out.len()).filter(untouched).all(|i| out[i] == 0.25));
                    }
                }
            }
        }
    }

    #[test]
    fn product_when_sizes_are_odd_equals_the_sum_in_f64() {
        check(Precision::F32, |x| x);
    }

    #[test]
    fn product_in_bf16_when_sizes_are_odd_equals_the_sum_of_rounded_values() {
        check(Precision::Bf16, |x| f32::from_bits(number::bf16(x) << 16));
    }

    #[test]
    fn product_in_int8_when_sizes_are_odd_is_within_the_rounding_of_its_operands() {
        for [m, n, k] in SIZES {
            let (a, w) = (values(m * k, 3), values(n * k, 4));
            let mut out = vec![0f32; m * n];
            Int8Weight::new(&w, n, k).product(&a, Output { values: &mut out, stride: n, add: false }, |_, _, _| {});
            let (want, _) = reference(Lines::rows(&a, m, k), Lines::rows(&w, n, k), |x| x);
            let largest = |row: &[f32]| f64::from(row.iter().fold(0f32, |m, x| m.max(x.abs())));
            for (i, want) in want.iter().enumerate() {
                let (a, w) = (&a[i / n * k..][..k], &w[i % n * k..][..k]);
                let half = |row: &[f32]| largest(row) / 254.0 * 1.001;
                let sum = |row: &[f32]| row.iter().map(|x| f64::from(x.abs())).sum::<f64>();
                let bound = half(a) * sum(w) + half(w) * sum(a) + k as f64 * half(a) * half(w) + 1e-5;
                assert!((f64::from(out[i]) - want).abs() <= bound, "{m}x{n}x{k}: {} {want} {bound}", out[i]);
            }
        }
    }

    #[test]
    fn bf16_when_a_value_lies_between_two_rounds_to_the_nearest_even() {
        let rounded = |x: f32| f32::from_bits(number::bf16(x) << 16);
        assert_eq!((rounded(1.0 + 1.0 / 256.0), rounded(1.0 + 3.0 / 256.0)), (1.0, 1.0 + 4.0 / 256.0));
        assert_eq!((rounded(-0.0).to_bits(), rounded(f32::INFINITY)), ((-0.0f32).to_bits(), f32::INFINITY));
        assert!(rounded(f32::from_bits(0x7fff_ffff)).is_nan() && rounded(f32::MAX).is_infinite());
    }
}
