//! Batches in which documents go on: what is trained on by a model that remembers the block before.

use super::blocks::Blocks;
use super::order::Order;

/// Blocks of the longest stretch. One in so many begins without memory; a single document still fills batches.
const LONGEST: usize = 8;

/// Stretches of neighbouring blocks of a document, few enough blocks each that there are always others to shuffle them with.
#[derive(Clone)]
pub struct Stretches {
    /// The first block of each, and the end.
    starts: Vec<usize>,
}

impl Stretches {
    /// Of all blocks.
    pub fn new(blocks: &Blocks) -> Self {
        let mut starts = vec![0];
        for block in 1..=blocks.len() {
            let is_full = starts.last().is_some_and(|start| block - start == LONGEST);
            if is_full || blocks.ends_document(block - 1) || block == blocks.len() {
                starts.push(block);
            }
        }
        Self { starts }
    }

    /// True if the block after this one is of the same stretch.
    pub fn goes_on(&self, block: usize) -> bool {
        self.starts.binary_search(&(block + 1)).is_err()
    }

    /// The first block of the stretch that a block is in.
    pub fn start(&self, block: usize) -> usize {
        let after = self.starts.partition_point(|&start| start <= block);
        self.starts[after.saturating_sub(1)]
    }

    /// The batches of an epoch: stretches are shuffled, and each batch has the next block of every stretch that goes on from
    /// the batch before, in the same order, and then the first blocks of further stretches, as many as a budget of tokens
    /// holds; at least one block. Each block gets `specials` tokens more.
    pub fn batches<'a>(
        &'a self,
        blocks: &'a Blocks,
        seed: u64,
        epoch: u64,
        budget: usize,
        specials: usize,
    ) -> impl Iterator<Item = Vec<usize>> + Send + 'a {
        let mut order = Order::new(self.starts.len() - 1, seed, epoch);
        let mut further = (0..).map_while(move |place| order.at(place)).map(|stretch| self.starts[stretch]).peekable();
        let mut batch: Vec<usize> = Vec::new();
        std::iter::from_fn(move || {
            // What goes on is no longer than the block before it, so it fits.
            batch = batch.iter().filter(|&&block| self.goes_on(block)).map(|block| block + 1).collect();
            let len = |block: usize| blocks.block_len(block) + specials;
            let mut tokens: usize = batch.iter().map(|&block| len(block)).sum();
            while let Some(block) = further.next_if(|&block| batch.is_empty() || tokens + len(block) <= budget) {
                tokens += len(block);
                batch.push(block);
            }
            (!batch.is_empty()).then(|| batch.clone())
        })
    }
}
