//! Tokens to packed batches: which texts go together, and how they lie in memory.

mod packed;
mod sampler;

pub use packed::PackedBatch;
pub use sampler::{in_order_of_length, shuffled};
