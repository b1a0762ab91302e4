//! Reverse-mode automatic differentiation of the kernels.
//!
//! A [`Var`] is an array that remembers the operation it came from if a gradient must flow there; results of
//! constants alone remember nothing. [`Var::backward`] walks the operations from last to first and frees what each
//! one kept. Gradients are not initialised with zeros: the first contribution to a [`Slot`] overwrites fresh memory,
//! later ones are added in place. The gradients of parameters are in one buffer, [`GradientBuffer`]; its pieces without
//! contributions are skipped.

mod backward;
mod checkpoint;
mod gradients;
mod op;
mod pieces;
mod slot;
mod var;

pub use checkpoint::checkpoint;
pub use gradients::{GradientBuffer, GradientSlot};
pub use op::Op;
pub use pieces::{Gradient, PIECE, add_to_pieces};
pub use slot::Slot;
pub use var::Var;
