//! Uninitialised memory.

/// A vector of `len` uninitialised values.
///
/// Clearing first would touch every page once more: fresh pages are the largest cost beside the matrix products.
///
/// # Safety
///
/// The caller writes every value before any is read.
#[allow(clippy::uninit_vec)]
pub(crate) unsafe fn uninit<T: bytemuck::Pod>(len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, any bits are a value of this type, and the caller writes
    // each before it is read.
    unsafe { values.set_len(len) };
    values
}
