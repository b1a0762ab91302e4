//! What an operation owes the backward pass.

use super::slot::Slot;
use crate::array::Array;
use crate::error::Result;

/// A computed operation: it holds what its forward pass kept for the backward pass.
///
/// # Safety
///
/// Where a [`Slot`] lends values that are not to be added to, `backward` writes every one of them before it reads any: they
/// may never have been set. Through [`Slot::write_pieces`], every one of the pieces that it marks as written.
pub unsafe trait Op: Send + Sync + 'static {
    /// For messages.
    fn name(&self) -> &'static str;

    /// From `gradient`, that of the output and of its shape, to those of the inputs: one slot in `into` for each of `inputs`.
    ///
    /// The gradient is the operation's own, to be changed in place and handed on where that helps. A slot that is not
    /// wanted should cost nothing.
    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()>;
}
