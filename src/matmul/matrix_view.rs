//! Operands as they lie in memory, before packing.

use half::bf16;

use super::number::Unit;
use crate::compute::Elements;

/// First-level cache way in bytes: addresses this far apart map to the same set.
const CACHE_WAY: usize = 4096;

/// A strided matrix of lines: line `i` has its value at depth `j` at `values[i * line_stride + j * depth_stride]`; one
/// of the strides is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatrixView<'a> {
    pub values: Elements<'a>,
    pub count: usize,
    pub depth: usize,
    pub line_stride: usize,
    pub depth_stride: usize,
}

impl<'a> MatrixView<'a> {
    /// The rows of a row-major matrix `[count, depth]`.
    pub fn rows(values: impl Into<Elements<'a>>, count: usize, depth: usize) -> Self {
        Self { values: values.into(), count, depth, line_stride: depth, depth_stride: 1 }
    }

    /// The columns of a row-major matrix `[depth, count]`.
    pub fn columns(values: impl Into<Elements<'a>>, count: usize, depth: usize) -> Self {
        Self { values: values.into(), count, depth, line_stride: 1, depth_stride: count }
    }

    /// Swaps lines and depth: the columns of these rows, or the rows of these columns.
    pub fn transposed(self) -> Self {
        let Self { values, count, depth, line_stride, depth_stride } = self;
        Self { values, count: depth, depth: count, line_stride: depth_stride, depth_stride: line_stride }
    }

    /// The lines `first .. first + count` in a range of depth that begins at `depth` and has at most `len` values.
    pub(super) fn block(&self, first: usize, count: usize, depth: usize, len: usize) -> Self {
        let offset = (first * self.line_stride + depth * self.depth_stride).min(self.values.len());
        Self {
            values: self.values.range(offset..self.values.len()),
            count,
            depth: len.min(self.depth - depth),
            ..*self
        }
    }

    /// True for f32 whose values of one depth are contiguous: the innermost loop can read them in place.
    pub(super) fn is_contiguous(&self) -> bool {
        self.line_stride == 1 && matches!(self.values, Elements::F32(_))
    }

    /// True if the values of all depths begin in the same set of a first-level cache.
    pub(super) fn strides_alias_cache_set(&self) -> bool {
        (self.depth_stride * size_of::<f32>()).is_multiple_of(CACHE_WAY)
    }

    /// True if the innermost loop can read these rows of `A` in place, as units: contiguous f32, or rows of f32 or of
    /// whole pairs of bf16 of which no more than four begin in the same set of a first-level cache, whose sets repeat
    /// after [`CACHE_WAY`].
    pub(super) fn readable_in_place(&self, unit: Unit) -> bool {
        let are_apart = |distance: usize| {
            self.depth_stride == 1 && 4 * CACHE_WAY.min(1 << distance.trailing_zeros().min(31)) <= CACHE_WAY
        };
        match (self.values, unit) {
            (Elements::F32(_), Unit::F32) => self.line_stride == 1 || are_apart(self.line_stride * size_of::<f32>()),
            (Elements::Bf16(values), Unit::Bf16Pair) => {
                let is_whole = self.line_stride.is_multiple_of(2) && self.depth.is_multiple_of(2);
                let is_aligned = (values.as_ptr() as usize).is_multiple_of(align_of::<u32>());
                is_whole && is_aligned && are_apart(self.line_stride * size_of::<bf16>())
            }
            _ => false,
        }
    }

    /// True if the last value lies within the slice and no index overflows.
    pub(super) fn is_within(&self) -> bool {
        let last = || {
            let line = (self.count - 1).checked_mul(self.line_stride)?;
            line.checked_add((self.depth - 1).checked_mul(self.depth_stride)?)
        };
        self.count == 0 || self.depth == 0 || last().is_some_and(|last| last < self.values.len())
    }
}
