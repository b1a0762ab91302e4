//! Location of one head of one sequence in packed values, and matrix products on it, on the CPU.

use crate::compute::{Elements, SharedBuffer, SharedSlice, put};
use crate::matmul::{MatrixView, Output, RhsView, TASK_ROWS, matmul_on_this_thread};

/// Number of queries whose scores are held at once.
pub(in crate::ops) const BLOCK: usize = TASK_ROWS;

/// One head of one sequence: its location within `[T, heads * size]`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Head {
    pub first: usize,
    pub len: usize,
    pub index: usize,
    pub size: usize,
    pub width: usize,
}

/// Rows that only one task writes: of a result, a gradient, or scratch memory.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Rows<'a> {
    values: SharedSlice<'a>,
    first: usize,
    stride: usize,
    size: usize,
    add: bool,
}

impl Head {
    pub(in crate::ops) fn offset(&self, row: usize) -> usize {
        (self.first + row) * self.width + self.index * self.size
    }

    /// The rows `row .. row + rows` of this head in `values [T, heads * size]`.
    pub(in crate::ops) fn rows<'a>(&self, values: Elements<'a>, row: usize, rows: usize) -> MatrixView<'a> {
        let values = values.range(self.offset(row)..values.len());
        MatrixView { values, count: rows, depth: self.size, line_stride: self.width, depth_stride: 1 }
    }

    /// This head's rows in an array that tasks write; `add` says whether to add to it.
    ///
    /// # Safety
    ///
    /// No other thread accesses the rows of this head meanwhile.
    pub(in crate::ops) unsafe fn part<'a>(&self, (values, add): (SharedSlice<'a>, bool)) -> Rows<'a> {
        Rows { values, first: self.offset(0), stride: self.width, size: self.size, add }
    }

    /// Writes the product `rows B` into this head's rows of `out` from `row` on, after applying `finish` to each row.
    ///
    /// # Safety
    ///
    /// No other thread accesses the rows of this head meanwhile.
    pub(in crate::ops) unsafe fn product(
        &self,
        rows: MatrixView,
        b: RhsView,
        out: SharedBuffer,
        row: usize,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        match out {
            SharedBuffer::F32(values) => {
                // SAFETY: the caller promises that nobody else touches the rows of this head.
                let out = unsafe { self.part((values, false)) };
                matmul_on_this_thread(rows, b, out.output(row, false), finish);
            }
            narrow @ SharedBuffer::Bf16(_) => matmul_on_this_thread(rows, b, Output::scratch(), |i, values| {
                finish(i, values);
                // SAFETY: a row of this head, which the caller promises that nobody else touches.
                unsafe { narrow.copy_from(self.offset(row + i), values) };
            }),
        }
    }
}

impl<'a> Rows<'a> {
    /// Contiguous rows of `size` values, to be overwritten.
    pub(in crate::ops) fn of(values: &'a mut [f32], size: usize) -> Self {
        Self { values: SharedSlice::new(values), first: 0, stride: size, size, add: false }
    }

    /// The rows from `row` on as the output of a product; `add` keeps what an earlier product has written there.
    pub(in crate::ops) fn output(&self, row: usize, add: bool) -> Output<'a> {
        let start = self.first + row * self.stride;
        let len = self.values.len() - start;
        // SAFETY: only the holder accesses these rows, as promised when they were made.
        unsafe { Output::from_raw(self.values.at(start), len, self.stride, self.add || add) }
    }

    pub(in crate::ops) fn put(&self, row: usize, values: &[f32]) {
        // SAFETY: only the holder accesses these rows, as promised when they were made.
        let out = unsafe { self.values.range(self.first + row * self.stride, self.size) };
        out.iter_mut().zip(values).for_each(|(out, &value)| put(out, value, self.add));
    }
}
