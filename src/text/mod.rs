//! Tokenization: loads a tokenizer and encodes texts in parallel, with character offsets.

mod beside;
mod byte_bpe;
mod charsmap;
mod classes;
mod encodings;
mod extend;
mod llama;
mod modules;
mod proto;
mod saved;
mod sentence_piece;
pub(crate) mod settings;
mod side_files;
mod special;
mod template;
mod tokenizer;
mod train;
mod unigram;
mod values;
mod whole_words;
mod windows;
pub(crate) mod word_piece;
mod words;

pub use encodings::Encodings;
pub use extend::{Extender, Extension};
pub use modules::Module;
pub use side_files::{
    CHAT_TEMPLATE, CHAT_TEMPLATES, GENERATION_CONFIG, MODULES, SENTENCE_CONFIG, SENTENCE_TRANSFORMERS, SIDE_FILES,
    SideFiles, side_files_in,
};
pub use special::{Frame, Role};
pub use tokenizer::{Limit, Tokenizer};
pub use train::TokenizerTrainer;
pub use windows::Windows;
