//! Differentiable fused operations.
//!
//! Each folder holds one operation. Its `mod.rs` has everything that devices share: the formula, shape checks, what the
//! forward pass saves, and the hand-written backward as an [`Op`](crate::autograd::Op), which unpacks inputs and
//! gradient slots. Its `cpu.rs` is the CPU kernel, which takes and returns slices and knows nothing of values and
//! gradients. Types that both need have files of their own.
//!
//! Arrays are row-major, in f32, or in bf16 where an operation says so; gradients are f32. Work is split into pieces
//! whose size does not depend on the number of threads, and partial sums are added in a fixed order, so results do not
//! depend on the number of threads either.

pub mod activation;
pub mod affine;
pub mod attention;
pub mod binary_cross_entropy;
pub mod bucketed_attention;
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
pub mod segment_pool;
pub mod vocabulary_loss;
