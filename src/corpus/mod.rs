//! Texts of any size as tokens in one mapped file, and what is trained on of it: blocks, their order, batches of blocks.

mod blocks;
mod cut;
mod file;
mod order;
mod sources;
mod stretches;
mod writer;

pub use blocks::Blocks;
#[cfg(test)]
pub use file::CONTINUES;
pub use file::{Corpus, token};
pub use order::Batches;
#[cfg(test)]
pub use sources::Skipped;
pub use sources::{OnError, TextFile};
pub use stretches::Stretches;
pub use writer::CorpusWriter;
