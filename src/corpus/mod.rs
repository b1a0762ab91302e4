//! Texts of any size as tokens in one mapped file, and what is trained on of it: blocks, their order, batches of blocks.

mod blocks;
mod cut;
mod file;
mod order;
mod sources;
mod stretches;
mod writer;

pub use blocks::Blocks;
pub use file::{CONTINUES, Corpus, token};
pub use order::{Batches, Order};
pub use sources::{OnError, Skipped, TextFile};
pub use stretches::Stretches;
pub use writer::CorpusWriter;
