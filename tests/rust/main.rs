//! Tests of the crate from outside, one module a concern.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autograd;
mod corpus;
mod families;
mod gguf;
mod kernels;
mod layout;
mod ops;
mod parity;
mod precision;
mod text;
mod tokenizers;
mod training;
