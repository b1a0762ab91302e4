//! Benchmarks, which see the crate from inside.

pub mod kernels;
pub mod matmul;

pub use crate::compute::Allocator;
