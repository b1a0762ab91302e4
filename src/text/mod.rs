//! Texts to tokens: load a tokenizer, encode in parallel, keep character offsets.

mod byte_bpe;
mod charsmap;
mod encodings;
mod llama;
mod proto;
mod sentence_piece;
mod settings;
mod side_files;
mod template;
mod tokenizer;
mod unigram;
mod word_piece;

pub use encodings::Encodings;
pub use side_files::{SIDE_FILES, SideFiles};
pub use tokenizer::Tokenizer;
