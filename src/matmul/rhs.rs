//! Rhs operand `B` of a product: packed, or read in place.

use std::ops::Range;

use super::matrix_view::MatrixView;
use super::number::{Precision, Unit};
use super::pack::{DEPTH, Panels, Vector};
use super::panel::{COLUMNS, Panel};

/// A right operand `B`, packed.
pub struct Packed(pub(super) Panels);

impl Packed {
    /// Packs `B`, given as its columns.
    pub(crate) fn new(columns: MatrixView, precision: Precision) -> Self {
        Self::with_unit(columns, Unit::of(precision), Vec::new())
    }

    /// Packs `B` on this thread only.
    pub(crate) fn new_here(columns: MatrixView, precision: Precision) -> Self {
        Self(Panels::pack_here(columns, COLUMNS, Unit::of(precision), Vec::new()))
    }

    pub(super) fn with_unit(columns: MatrixView, unit: Unit, memory: Vec<Vector>) -> Self {
        Self(Panels::pack(columns, COLUMNS, unit, memory))
    }

    /// Number of columns, and depth.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.0.count, self.0.depth]
    }

    pub(crate) fn whole(&self) -> RhsView<'_> {
        RhsView { source: Source::Packed(&self.0), columns: 0..self.0.count, depth: 0..self.0.depth }
    }

    /// A range of columns that begins at a panel boundary.
    pub(crate) fn columns(&self, columns: Range<usize>) -> RhsView<'_> {
        assert!(columns.start.is_multiple_of(COLUMNS) && columns.end <= self.0.count, "{columns:?} are no panels");
        RhsView { columns, ..self.whole() }
    }

    /// A range of depth that begins and ends at unit boundaries; only at the end of the depth may the last unit be
    /// incomplete.
    pub(crate) fn depths(&self, depth: Range<usize>) -> RhsView<'_> {
        let whole = |d: usize| d.is_multiple_of(self.0.unit.depth()) || d == self.0.depth;
        assert!(whole(depth.start) && whole(depth.end) && depth.end <= self.0.depth, "{depth:?} are no units");
        RhsView { depth, ..self.whole() }
    }
}

/// Rhs operand `B` of one product: packed, or read in place.
pub(crate) enum Rhs<'a> {
    Packed(Packed),
    InPlace(MatrixView<'a>),
}

impl<'a> Rhs<'a> {
    /// `B`, given as its columns. f32 rows that divide into whole panels need no packing: the innermost loop reads two
    /// vectors of each row in place, unless all rows begin in the same set of the first-level cache.
    pub fn new(columns: MatrixView<'a>, precision: Precision) -> Self {
        let whole = columns.is_contiguous() && columns.count.is_multiple_of(COLUMNS);
        if whole && !columns.strides_alias_cache_set() && Unit::of(precision) == Unit::F32 {
            assert!(columns.is_within(), "lines reach beyond their values");
            return Self::InPlace(columns);
        }
        Self::Packed(Packed::new(columns, precision))
    }

    pub fn whole(&self) -> RhsView<'_> {
        match self {
            Self::Packed(packed) => packed.whole(),
            Self::InPlace(lines) => {
                RhsView { source: Source::InPlace(*lines), columns: 0..lines.count, depth: 0..lines.depth }
            }
        }
    }
}

#[derive(Clone)]
enum Source<'a> {
    Packed(&'a Panels),
    InPlace(MatrixView<'a>),
}

/// A right operand, or a range of its columns or depth.
#[derive(Clone)]
pub(crate) struct RhsView<'a> {
    source: Source<'a>,
    pub(super) columns: Range<usize>,
    pub(super) depth: Range<usize>,
}

impl RhsView<'_> {
    /// Number of columns, and depth.
    pub fn shape(&self) -> [usize; 2] {
        [self.columns.len(), self.depth.len()]
    }

    pub(super) fn unit(&self) -> Unit {
        match self.source {
            Source::Packed(panels) => panels.unit,
            Source::InPlace(_) => Unit::F32,
        }
    }

    /// The panel that begins at `column` of the part, for these units.
    pub(super) fn panel(&self, column: usize, units: Range<usize>) -> Panel<'_> {
        let column = self.columns.start + column;
        match self.source {
            Source::Packed(panels) => panels.panel(column / COLUMNS, units),
            Source::InPlace(lines) => Panel::in_place(&lines, column, units),
        }
    }

    /// The parts of each packed range of depth that are included, in units. A depth of 0 gives one empty range.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let depth = self.unit().depth();
        let (start, end) = (self.depth.start / depth, self.depth.end.div_ceil(depth));
        let first = start / DEPTH * DEPTH;
        (first..end.max(first + 1)).step_by(DEPTH).map(move |range| range.max(start)..end.min(range + DEPTH))
    }
}
