//! GGUF, the single-file format of llama.cpp, which holds what a Hugging Face directory has: configuration, weights and
//! tokenizer.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. `header.rs` reads the header strictly, because
//! candle's reader takes 32 bytes for each byte of an array, keeps the last of two tensors with the same name and
//! repairs invalid UTF-8.

mod architecture;
mod architectures;
mod bert;
mod blocks;
mod byte_level;
mod fields;
mod file;
mod generation;
mod gpt2;
mod header;
mod llama;
mod metadata;
mod pre_tokenizers;
mod reader;
mod rope_factors;
mod sentence_piece;
mod tokenizer;
mod values;
mod vocabulary;
mod word_piece;

pub use file::{Gguf, find};
