//! Tests of the crate from outside, one module a concern.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adapters;
mod attention;
mod autograd;
mod bridge;
mod bucketed_attention;
mod candle_oracle;
mod checks;
mod corpus;
mod detector;
mod families;
mod gguf;
mod gguf_tokenizers;
mod layout;
mod linear;
mod objectives;
mod operations;
mod ops;
mod optim;
mod parity;
mod precision;
mod recurrent;
mod relative_attention;
mod side_files;
mod tasks;
mod text;
mod tokenizers;
mod training;
mod training_parity;
mod vocabulary_loss;
