//! Texts of any size as tokens in one mapped file, and what is trained on of it: blocks, their order, batches of blocks.

mod blocks;
mod cut;
mod file;
mod order;
mod writer;

pub use blocks::Blocks;
pub use file::{CONTINUES, Corpus, token};
pub(crate) use order::in_batches;
pub use order::epoch;
pub use writer::CorpusWriter;
