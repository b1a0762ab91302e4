//! Where a product goes.

use std::marker::PhantomData;

/// Where a product goes: `C`, row-major with `stride` from row to row.
pub(crate) struct Output<'a> {
    /// Null where `C` is not kept.
    pub(super) values: *mut f32,
    pub(super) len: usize,
    pub(super) stride: usize,
    /// Add to what is there; else overwrite.
    pub(super) add: bool,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write to parts of `C` that have nothing in common.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Into `values`.
    pub fn new(values: &'a mut [f32], stride: usize, add: bool) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), stride, add, lifetime: PhantomData }
    }

    /// Into the `len` values at an address, of which others hold the columns between the rows of `C`.
    ///
    /// # Safety
    ///
    /// The rows of `C` lie within one allocation that outlives this, and nobody else touches them.
    pub unsafe fn from_raw(values: *mut f32, len: usize, stride: usize, add: bool) -> Self {
        Self { values, len, stride, add, lifetime: PhantomData }
    }

    /// Nowhere: whoever finishes the rows takes the values along.
    pub fn lent() -> Self {
        Self { values: std::ptr::null_mut(), len: usize::MAX, stride: 0, add: false, lifetime: PhantomData }
    }

    /// The same from a column on.
    pub(super) fn at_column(&self, column: usize) -> Output<'_> {
        let values = if self.values.is_null() { self.values } else { self.at(0, column) };
        Output { values, len: self.len.saturating_sub(column), ..*self }
    }

    /// The value at `row` and `column`.
    pub(super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.values.wrapping_add(row * self.stride + column)
    }
}
