//! In which order blocks are trained on, and in which batches.

use crate::rng::Key;

/// Blocks that lie beside each other and stay together.
const WINDOW: usize = 256;
/// Windows that are shuffled into each other: 65536 blocks are read at a time.
const MIXED: usize = 256;

/// The batches of an epoch: blocks by their number, with at most `budget` tokens together, or one block. Windows of consecutive
/// blocks are drawn in a random order, and the blocks of some of them mixed, so that what is read lies close together; a
/// corpus of fewer blocks is shuffled as a whole. A pure function of the key, which is the epoch's own.
pub fn epoch(lengths: &[usize], budget: usize, key: Key) -> Vec<Vec<usize>> {
    let windows: Vec<usize> = key.permutation(lengths.len().div_ceil(WINDOW));
    let mut order = Vec::with_capacity(lengths.len());
    for (i, windows) in windows.chunks(MIXED).enumerate() {
        let range = |&window: &usize| window * WINDOW..((window + 1) * WINDOW).min(lengths.len());
        let blocks: Vec<usize> = windows.iter().flat_map(range).collect();
        let mixed = key.child(i as u64).permutation(blocks.len());
        order.extend(mixed.into_iter().map(|i| blocks[i]));
    }
    in_batches(&order, lengths, budget)
}

/// These blocks in this order, in batches.
pub(crate) fn in_batches(order: &[usize], lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let (mut batches, mut filled): (Vec<Vec<usize>>, usize) = (Vec::new(), 0);
    for &block in order {
        match batches.last_mut() {
            Some(batch) if filled + lengths[block] <= budget => batch.push(block),
            _ => {
                batches.push(vec![block]);
                filled = 0;
            }
        }
        filled += lengths[block];
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn epoch_when_blocks_are_many_has_each_once_in_batches_that_keep_to_the_budget() {
        let lengths: Vec<usize> = (0..70_001).map(|i| 1 + i % 97).collect();
        let key = Key::new(5, Stream::Shuffle);
        let batches = epoch(&lengths, 300, key);
        let mut seen: Vec<usize> = batches.concat();
        assert_ne!(seen[..1000], (0..1000).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        let sum = |batch: &Vec<usize>| batch.iter().map(|&b| lengths[b]).sum::<usize>();
        assert!(batches.iter().all(|batch| sum(batch) <= 300));
        assert!(batches.windows(2).all(|w| sum(&w[0]) + lengths[w[1][0]] > 300));
        assert_eq!(epoch(&lengths, 300, key), batches);
        assert_ne!(epoch(&lengths, 300, key.child(1)), batches);
        assert_eq!(epoch(&[500, 1], 300, key).len(), 2);
        assert!(epoch(&[], 300, key).is_empty());
    }
}
