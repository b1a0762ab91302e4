//! Batches in which documents continue from batch to batch, for models with memory of the previous block.

use super::blocks::Blocks;
use super::order::Order;

/// Longest stretch in blocks. One block in this many starts without memory; short stretches let even a single document
/// fill batches.
const LONGEST: usize = 8;

/// Stretches of neighbouring blocks of one document, short enough that there are always others to shuffle them with.
#[derive(Clone)]
pub struct Stretches {
    /// First block of each stretch, then the total number of blocks.
    starts: Vec<usize>,
}

impl Stretches {
    /// Groups all blocks into stretches.
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

    /// True if the next block belongs to the same stretch.
    pub fn goes_on(&self, block: usize) -> bool {
        self.starts.binary_search(&(block + 1)).is_err()
    }

    /// First block of the stretch that contains `block`.
    pub fn start(&self, block: usize) -> usize {
        let after = self.starts.partition_point(|&start| start <= block);
        self.starts[after.saturating_sub(1)]
    }

    /// Batches of an epoch. Stretches are shuffled. Each batch takes the next block of every stretch that continues
    /// from the previous batch, in the same order, then the first blocks of further stretches as the token budget
    /// allows; at least one block. Each block counts `specials` additional special tokens.
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
            // A continuing block is no longer than the block before it, so it fits.
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
