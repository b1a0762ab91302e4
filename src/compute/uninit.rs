//! Memory that is not cleared first.

/// A vector of `len` values that the caller overwrites, every one of them, before any is read.
///
/// Clearing first would touch every page once more than needed: fresh pages are the largest cost beside the products.
#[allow(clippy::uninit_vec)]
pub(crate) fn uninit(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, any bit pattern is a valid f32, and callers write before they read.
    unsafe { values.set_len(len) };
    values
}
