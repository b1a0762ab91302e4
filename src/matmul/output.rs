//! Output of a product.

use std::marker::PhantomData;

/// Output of a product: `C`, row-major with `stride` from row to row.
pub(crate) struct Output<'a> {
    /// Null if `C` is not stored.
    pub(super) values: *mut f32,
    pub(super) len: usize,
    pub(super) stride: usize,
    /// Add to the existing values instead of overwriting them.
    pub(super) add: bool,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write to disjoint parts of `C`.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Output to `values`.
    pub fn new(values: &'a mut [f32], stride: usize, add: bool) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), stride, add, lifetime: PhantomData }
    }

    /// Output to the `len` values at an address; the columns between the rows of `C` may belong to others.
    ///
    /// # Safety
    ///
    /// The rows of `C` lie within one allocation that outlives this, and no other thread accesses them.
    pub unsafe fn from_raw(values: *mut f32, len: usize, stride: usize, add: bool) -> Self {
        Self { values, len, stride, add, lifetime: PhantomData }
    }

    /// No output memory: the `finish` callback takes the values.
    pub fn scratch() -> Self {
        Self { values: std::ptr::null_mut(), len: usize::MAX, stride: 0, add: false, lifetime: PhantomData }
    }

    /// The same output, starting at a column.
    pub(super) fn at_column(&self, column: usize) -> Output<'_> {
        let values = if self.values.is_null() { self.values } else { self.at(0, column) };
        Output { values, len: self.len.saturating_sub(column), ..*self }
    }

    /// Address of the value at `row` and `column`.
    pub(super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.values.wrapping_add(row * self.stride + column)
    }
}
