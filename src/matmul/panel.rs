//! Panels: adjacent lines of an operand as the innermost loop reads them, and the tile sizes.

use std::ops::Range;

use super::matrix_view::MatrixView;
use crate::compute::Elements;

/// Rows per tile of `C`.
pub(super) const ROWS: usize = 14;
/// Columns per tile of `C`: two vectors of 16.
pub(crate) const COLUMNS: usize = 32;
/// Units after a panel that a vector store at its end may overwrite.
pub(super) const SPARE: usize = 16;

/// A panel of lines, packed or read in place; one of the strides is 1.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub units: &'a [u32],
    /// Stride from one unit of depth to the next.
    pub stride: usize,
    /// Stride from one line to the next.
    pub line_stride: usize,
}

impl<'a> Panel<'a> {
    /// The lines from `first` on, read in place: f32 lines, or rows of pairs of bf16.
    pub fn in_place(lines: &MatrixView<'a>, first: usize, units: Range<usize>) -> Self {
        let start = |unit: usize| units.start * unit * lines.depth_stride + first * lines.line_stride;
        match lines.values {
            Elements::F32(values) => Self {
                units: bytemuck::cast_slice(&values[start(1).min(values.len())..]),
                stride: lines.depth_stride,
                line_stride: lines.line_stride,
            },
            Elements::Bf16(values) => {
                let pairs = &values[start(2).min(values.len())..];
                let pairs = bytemuck::cast_slice(&pairs[..pairs.len() / 2 * 2]);
                Self { units: pairs, stride: 1, line_stride: lines.line_stride / 2 }
            }
        }
    }

    /// True if there are `lines` lines with `units` units of depth.
    pub fn holds(&self, units: usize, lines: usize) -> bool {
        units == 0 || (units - 1) * self.stride + (lines - 1) * self.line_stride < self.units.len()
    }
}
