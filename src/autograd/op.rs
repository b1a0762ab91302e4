//! The trait of differentiable operations.

use super::slot::Slot;
use crate::array::Array;
use crate::error::Result;

/// A computed operation: it holds what its forward pass kept for the backward pass.
///
/// # Safety
///
/// If a [`Slot`] lends values that are not to be added to, `backward` must write all of them before it reads any,
/// because they may be uninitialised. With [`Slot::write_pieces`] this holds for every piece that it marks as written.
pub unsafe trait Op: Send + Sync + 'static {
    /// Name for error messages.
    fn name(&self) -> &'static str;

    /// Computes the gradients of the inputs from `gradient`, that of the output and of its shape; `into` has one slot
    /// for each of `inputs`.
    ///
    /// The operation owns the gradient, and may change it in place and pass it on. A slot that is not wanted should
    /// cost nothing.
    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()>;
}
