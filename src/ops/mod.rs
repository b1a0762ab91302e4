//! Differentiable fused operations.
//!
//! Each file holds one operation: its formula, the CPU forward and the hand-written backward, an [`Op`](crate::autograd::Op).
//! All operations take f32, contiguous or not, and give f32, contiguous. Work is split into pieces whose size does not
//! depend on the number of threads and whose partial sums are added in a fixed order, so results do not depend on it either.

pub mod activation;
pub mod affine;
pub mod attention;
pub mod binary_cross_entropy;
pub mod columns;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod frozen;
pub mod gated;
pub mod linear;
pub mod norm;
pub mod rotary;
pub mod scaled_sum;
pub mod segment_pool;
pub mod vocabulary_loss;
