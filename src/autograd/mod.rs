//! Reverse-mode differentiation of what the kernels compute.
//!
//! A [`Value`] is an array that remembers the operation it came from, if a gradient must flow there; what follows from
//! constants alone remembers nothing. [`Value::backward`] walks the operations from the last to the first and frees what
//! each one kept as it passes. A gradient is never made of zeros and then added to: the first contribution to a [`Slot`]
//! overwrites fresh memory, later ones are added in place. The gradients of parameters lie in one buffer, [`GradientBuffer`],
//! where pieces that no contribution has met are not gone through.

mod backward;
mod checkpoint;
mod gradients;
mod op;
mod pieces;
mod slot;
mod value;

pub use checkpoint::checkpoint;
pub use gradients::{GradientBuffer, GradientSlot};
pub use op::Op;
pub use pieces::{Gradient, PIECE, add_to_pieces};
pub use slot::Slot;
pub use value::Value;
