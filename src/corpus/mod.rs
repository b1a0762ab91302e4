//! Text corpora of any size, tokenised into one memory-mapped file, and their training blocks, block order and batches.

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
