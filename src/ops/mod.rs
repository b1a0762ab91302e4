//! Differentiable fused operations.
//!
//! A folder holds one operation. Its `mod.rs` says once what every device shares: the formula, checks of shapes, what the
//! forward pass keeps, and the hand-written backward as an [`Op`](crate::autograd::Op), which unpacks inputs and slots. Its
//! `cpu.rs` is the body: slices in, slices out, and nothing of values and gradients. Types that both need have a file of
//! their own.
//!
//! Values lie row-major, in f32, or in bf16 where an operation says so; gradients are f32. Work is split into pieces whose size does not
//! depend on the number of threads and whose partial sums are added in a fixed order, so results do not depend on it either.

pub mod activation;
pub mod affine;
pub mod attention;
pub mod bucketed_attention;
pub mod binary_cross_entropy;
pub mod cached_attention;
pub mod columns;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gated;
pub mod linear;
pub mod norm;
pub mod regression_loss;
pub mod relative_attention;
pub mod scaled_sum;
pub mod segment_pool;
pub mod vocabulary_loss;
