//! Benchmarks, which see the crate from inside.

pub mod kernels;
pub mod product;

pub use crate::compute::Allocator;
