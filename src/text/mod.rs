//! Texts to tokens: load a tokenizer, encode in parallel, keep character offsets.

mod encodings;
mod side_files;
mod tokenizer;
pub(crate) mod word_piece;

pub use encodings::Encodings;
pub use side_files::{SIDE_FILES, SideFiles};
pub use tokenizer::Tokenizer;
