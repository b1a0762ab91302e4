//! Batching: which texts form a batch, and the packed tensors of a batch.

mod packed;
mod sampler;

pub use packed::PackedBatch;
pub use sampler::{in_order_of_length, shuffled};
