//! Packing: operands copied into the order in which the innermost loop reads them.
//!
//! In a product `C [m, n] = A [m, k] B [k, n]`, `A` has `m` lines (its rows) and `B` has `n` lines (its columns), each
//! of depth `k`. Groups of `ROWS` lines of `A` or `COLUMNS` lines of `B` are packed into panels
//! `[units of depth, lines]`; missing lines are zeros.

use std::ops::Range;

use rayon::prelude::*;

use super::matrix_view::MatrixView;
use super::number::Unit;
#[cfg(target_arch = "x86_64")]
use super::pack_avx512;
use super::panel::{Panel, SPARE};
use crate::compute::bf16_bits;
#[cfg(target_arch = "x86_64")]
use crate::compute::simd::{Level, level};

/// Units of depth that are multiplied between updates of `C`.
pub(super) const DEPTH: usize = 256;
/// Panels, in one range of depth, that one task packs.
const TASK_PANELS: usize = 8;
/// Number of values below which a copy runs on one thread.
const SMALL: usize = 32 * 1024;

/// 16 units: a vector register and a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Vector([u32; 16]);

/// Lines packed into panels `[units, width]`, one range of depth after another; panels of the same range are
/// contiguous.
pub(super) struct Panels {
    pub memory: Vec<Vector>,
    /// Lines per panel.
    width: usize,
    pub unit: Unit,
    pub count: usize,
    pub depth: usize,
    /// Number of units of depth.
    pub units: usize,
}

impl Panels {
    /// Packs in parallel, if worthwhile.
    pub fn pack(lines: MatrixView, width: usize, unit: Unit, memory: Vec<Vector>) -> Self {
        let mut panels = Self::empty(&lines, width, unit, memory);
        let pieces = panels.pieces(TASK_PANELS);
        let pack = |piece: Piece| pack_panels(&piece.lines(&lines, unit), unit, width, piece.vectors, piece.memory);
        if lines.count * lines.depth < SMALL {
            pieces.into_iter().for_each(pack);
        } else {
            pieces.into_par_iter().for_each(pack);
        }
        panels
    }

    /// Packs on this thread.
    pub fn pack_here(lines: MatrixView, width: usize, unit: Unit, memory: Vec<Vector>) -> Self {
        let mut panels = Self::empty(&lines, width, unit, memory);
        for piece in panels.pieces(usize::MAX) {
            pack_panels(&piece.lines(&lines, unit), unit, width, piece.vectors, piece.memory);
        }
        panels
    }

    /// Panels that have not been written yet.
    fn empty(lines: &MatrixView, width: usize, unit: Unit, mut memory: Vec<Vector>) -> Self {
        assert!(lines.is_within(), "lines reach beyond their values");
        let units = lines.depth.div_ceil(unit.depth());
        let len =
            (0..units.max(1)).step_by(DEPTH).map(|first| panel_vectors(DEPTH.min(units - first), width)).sum::<usize>()
                * lines.count.div_ceil(width);
        memory.clear();
        memory.reserve(len);
        // SAFETY: the capacity suffices, any bits are valid units, and everything is written before it is read.
        #[allow(clippy::uninit_vec)]
        unsafe {
            memory.set_len(len);
        }
        Self { memory, width, unit, count: lines.count, depth: lines.depth, units }
    }

    /// Splits the memory into pieces of at most `panels` panels in one range of depth.
    fn pieces(&mut self, panels: usize) -> Vec<Piece<'_>> {
        let (width, units, count) = (self.width, self.units, self.count.div_ceil(self.width));
        let mut pieces = Vec::new();
        let mut rest = self.memory.as_mut_slice();
        for first_unit in (0..units.max(1)).step_by(DEPTH) {
            let units = DEPTH.min(units - first_unit);
            let vectors = panel_vectors(units, width);
            for panel in (0..count).step_by(panels) {
                let (memory, after) = rest.split_at_mut(panels.min(count - panel) * vectors);
                pieces.push(Piece { first: panel * width, first_unit, units, vectors, memory });
                rest = after;
            }
        }
        pieces
    }

    /// Panel `i` of these units, which must lie in one range of depth.
    pub fn panel(&self, i: usize, units: Range<usize>) -> Panel<'_> {
        let first = units.start / DEPTH * DEPTH;
        let before = first / DEPTH * panel_vectors(DEPTH, self.width) * self.count.div_ceil(self.width);
        let vectors = panel_vectors(DEPTH.min(self.units - first), self.width);
        let panel = &self.memory[before + i * vectors..][..vectors];
        // SAFETY: a Vector is 16 units.
        let panel = unsafe { std::slice::from_raw_parts(panel.as_ptr().cast::<u32>(), vectors * 16) };
        Panel {
            units: &panel[(units.start - first) * self.width..][..units.len() * self.width],
            stride: self.width,
            line_stride: 1,
        }
    }
}

/// Vectors in a panel of this many units, including the spare ones.
fn panel_vectors(units: usize, width: usize) -> usize {
    (units * width + SPARE).div_ceil(16)
}

/// Adjacent panels in one range of depth.
struct Piece<'a> {
    /// Index of the first line.
    first: usize,
    first_unit: usize,
    units: usize,
    /// Vectors per panel.
    vectors: usize,
    memory: &'a mut [Vector],
}

impl Piece<'_> {
    /// The lines to pack.
    fn lines<'a>(&self, lines: &MatrixView<'a>, unit: Unit) -> MatrixView<'a> {
        lines.block(self.first, lines.count - self.first, self.first_unit * unit.depth(), self.units * unit.depth())
    }
}

/// Packs all `panels` `[units, width]`, from the first line on; each has `vectors` vectors of memory.
fn pack_panels(lines: &MatrixView, unit: Unit, width: usize, vectors: usize, panels: &mut [Vector]) {
    // SAFETY: a Vector is 16 units.
    let panels = unsafe { std::slice::from_raw_parts_mut(panels.as_mut_ptr().cast::<u32>(), panels.len() * 16) };
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: `level` detected the instructions, `Unit::of` those for pairs; `Panels::empty` checked the lines.
        return unsafe { pack_avx512::pack_panels(lines, unit, width, vectors * 16, panels) };
    }
    for (i, panel) in panels.chunks_exact_mut(vectors * 16).enumerate() {
        let first = i * width;
        let count = width.min(lines.count - first);
        for (depth, panel) in panel.chunks_exact_mut(width).take(lines.depth).enumerate() {
            let (there, absent) = panel.split_at_mut(count);
            for (i, out) in there.iter_mut().enumerate() {
                let value = lines.values.at((first + i) * lines.line_stride + depth * lines.depth_stride);
                *out = if unit == Unit::Bf16AsF32 { bf16_bits(value) << 16 } else { value.to_bits() };
            }
            absent.fill(0);
        }
    }
}
