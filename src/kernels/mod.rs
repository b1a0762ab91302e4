//! Differentiable fused operations on candle tensors.
//!
//! Each file holds one operation: its formula, the CPU forward and the hand-written backward of a candle `CustomOp`. A CUDA
//! twin stands beside it as `<op>.cu` and is reached through the same `CustomOp`. All operations take f32, contiguous or
//! not, and give f32, contiguous. Work is split into pieces whose size does not depend on the number of threads and whose
//! partial sums are added in a fixed order, so results do not depend on it either.

mod access;
mod math;
mod parallel;
mod product;
pub(crate) mod simd;

pub mod activation;
pub mod attention;
pub mod binary_cross_entropy;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod layer_norm;
pub mod linear;
pub mod segment_pool;

pub use access::{overwrite, with_f32};
pub use parallel::{CHUNK, for_chunks, in_pool, num_threads, set_num_threads};
