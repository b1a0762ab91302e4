//! Shuffled order of blocks in an epoch, and batches of them.

use super::blocks::Blocks;
use crate::rng::{Key, Stream};

/// Number of blocks shuffled together: 32 MB with 128 tokens each, which the page cache holds while they are read.
const WINDOW: usize = 1 << 16;

/// A shuffled order of `n` blocks: windows of neighbouring blocks are shuffled, then the blocks within each window.
/// Reading stays within one window at a time, so a corpus may be larger than memory. The order depends only on seed and
/// epoch, so a run can resume anywhere.
#[derive(Debug, Clone)]
pub struct Order {
    key: Key,
    n: usize,
    window: usize,
    windows: Vec<usize>,
    /// Position, after shuffling, of the last window of the corpus, the only one that may be shorter.
    shorter: usize,
    /// The most recently used window: its position after shuffling, and the order of its blocks.
    current: Option<(usize, Vec<usize>)>,
}

impl Order {
    /// The order of the given epoch.
    pub fn new(n: usize, seed: u64, epoch: u64) -> Self {
        Self::with_window(n, seed, epoch, WINDOW)
    }

    fn with_window(n: usize, seed: u64, epoch: u64, window: usize) -> Self {
        let key = Key::new(seed, Stream::Shuffle).named("blocks").child(epoch);
        let windows = key.child(0).permutation(n.div_ceil(window));
        let shorter = windows.iter().position(|&w| w + 1 == windows.len()).unwrap_or(0);
        Self { key: key.child(1), n, window, windows, shorter, current: None }
    }

    /// The block at position `place`; None out of range.
    pub fn at(&mut self, place: usize) -> Option<usize> {
        if place >= self.n {
            return None;
        }
        let missing = self.windows.len() * self.window - self.n;
        let is_after = place >= (self.shorter + 1) * self.window - missing;
        let place = if is_after { place + missing } else { place };
        let (slot, within) = (place / self.window, place % self.window);
        let first = self.windows.get(slot)? * self.window;
        if self.current.as_ref().is_none_or(|(current, _)| *current != slot) {
            let order = self.key.child(first as u64).permutation(self.window.min(self.n - first));
            self.current = Some((slot, order));
        }
        self.current.as_ref()?.1.get(within).map(|i| first + i)
    }
}

/// Iterator over the batches of an epoch. A batch takes the next blocks that fit the token budget, at least one.
pub struct Batches<'a> {
    blocks: &'a Blocks,
    order: Order,
    position: usize,
    budget: usize,
    specials: usize,
}

impl<'a> Batches<'a> {
    /// Batches within `budget` tokens; each block counts `specials` additional special tokens.
    pub fn new(blocks: &'a Blocks, seed: u64, epoch: u64, budget: usize, specials: usize) -> Self {
        Self { blocks, order: Order::new(blocks.len(), seed, epoch), position: 0, budget, specials }
    }
}

impl Iterator for Batches<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let (mut batch, mut tokens) = (Vec::new(), 0);
        while let Some(block) = self.order.at(self.position) {
            tokens += self.blocks.block_len(block) + self.specials;
            if tokens > self.budget && !batch.is_empty() {
                break;
            }
            batch.push(block);
            self.position += 1;
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(order: &mut Order) -> Vec<usize> {
        (0..).map_while(|place| order.at(place)).collect()
    }

    proptest! {
        #[test]
        fn order_when_windows_are_short_has_every_block_once_and_reads_one_window_at_a_time(
            n in 0usize..300, window in 1usize..50, seed: u64, epoch: u64,
        ) {
            let order = places(&mut Order::with_window(n, seed, epoch, window));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            let changes = order.windows(2).filter(|w| w[0] / window != w[1] / window).count();
            prop_assert_eq!(changes + 1, n.div_ceil(window).max(1));
            // The order must not depend on the sequence of the calls.
            let mut again = Order::with_window(n, seed, epoch, window);
            for place in (0..n).rev().step_by(7) {
                prop_assert_eq!(again.at(place), Some(order[place]));
            }
        }
    }

    #[test]
    fn order_when_seed_or_epoch_change_is_another_one() {
        let of = |seed, epoch| places(&mut Order::with_window(1000, seed, epoch, 100));
        assert_ne!(of(1, 0), of(1, 1));
        assert_ne!(of(1, 0), of(2, 0));
        // Blocks must move far: with unshuffled windows they would stay within 100 of their position.
        assert!(of(1, 0).iter().enumerate().any(|(i, &block)| block.abs_diff(i) > 500));
    }
}
