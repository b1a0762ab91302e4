//! Transfer learning for language models.
//!
//! The way of the data: text -> tokens -> packed batch -> backbone -> head -> objective -> gradients -> optimiser -> report.
//! A module uses only those above it in this list. Shape letters: `T` tokens, `B` sequences, `D` hidden size, `H` heads,
//! `V` vocabulary, `C` classes.

pub mod backbone;
pub mod batch;
#[cfg(feature = "python")]
mod bind;
pub mod error;
pub mod files;
pub mod head;
pub mod kernels;
pub mod objective;
pub mod optim;
pub mod report;
pub mod rng;
pub mod text;
pub mod train;

/// Freed memory is kept and used again: clearing fresh pages costs a training step more than anything but its products.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
