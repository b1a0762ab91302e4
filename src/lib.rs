//! Transfer learning for language models.
//!
//! The way of the data: text -> tokens -> packed batch -> backbone -> head -> objective -> gradients -> optimiser -> report.
//! A module uses only those above it in this list. Shape letters: `T` tokens, `B` sequences, `D` hidden size, `H` heads,
//! `V` vocabulary, `C` classes.

pub mod error;
pub mod report;
pub mod files;
pub mod rng;
pub mod compute;
pub mod array;
pub mod product;
pub mod autograd;
pub mod ops;
pub mod text;
pub mod corpus;
pub mod batch;
pub mod gguf;
pub mod backbone;
pub mod head;
pub mod objective;
pub mod optim;
pub mod train;
// Miri maps no files and calls no C, with which the files are read.
#[cfg(all(test, not(miri)))]
mod hostile;
#[cfg(feature = "python")]
mod bind;
