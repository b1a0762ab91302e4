//! Tests of the crate from outside, one module a concern.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kernels;
mod layout;
mod parity;
mod text;
mod training;
