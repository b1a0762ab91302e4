//! Batch samplers: texts of similar length are grouped into batches that fit a budget of tokens.

use crate::rng::Key;

/// Number of batches whose texts are shuffled and sorted by length together: large enough to group similar lengths,
/// small enough to keep an epoch random.
const WINDOW_BATCHES: usize = 8;

/// Batches of one training epoch: every text once, in a random order determined by `key`.
///
/// Texts are shuffled and taken in windows of a few batches. Each window is sorted by length and cut into batches of at
/// most `budget` tokens (a longer text is a batch of its own). Then the batches are shuffled.
pub fn shuffled(lengths: &[usize], budget: usize, key: Key) -> Vec<Vec<usize>> {
    let order = key.child(0).permutation(lengths.len());
    let mut batches = Vec::new();
    let (mut window, mut tokens) = (Vec::new(), 0);
    for (i, &text) in order.iter().enumerate() {
        window.push(text);
        tokens += lengths[text];
        if tokens >= budget.saturating_mul(WINDOW_BATCHES) || i + 1 == order.len() {
            window.sort_by_key(|&text| lengths[text]);
            batches.extend(cut(&window, lengths, budget));
            (window, tokens) = (Vec::new(), 0);
        }
    }
    let order = key.child(1).permutation(batches.len());
    order.into_iter().map(|i| std::mem::take(&mut batches[i])).collect()
}

/// Batches for inference, sorted by length, longest first, so that peak memory is reached in the first batch.
pub fn in_order_of_length(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
    cut(&order, lengths, budget)
}

fn cut(order: &[usize], lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for &text in order {
        tokens += lengths[text];
        match batches.last_mut() {
            Some(batch) if tokens <= budget => batch.push(text),
            _ => {
                batches.push(vec![text]);
                tokens = lengths[text];
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_when_cut_hold_every_text_once_within_the_budget(
            lengths in prop::collection::vec(0usize..60, 0..200), budget in 1usize..200, seed: u64,
        ) {
            let key = Key::new(seed, Stream::Shuffle);
            for batches in [shuffled(&lengths, budget, key), in_order_of_length(&lengths, budget)] {
                let mut all: Vec<usize> = batches.iter().flatten().copied().collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
                for batch in &batches {
                    let tokens: usize = batch.iter().map(|&i| lengths[i]).sum();
                    prop_assert!(tokens <= budget || batch.len() == 1);
                }
            }
        }
    }

    #[test]
    fn shuffled_when_the_key_changes_gives_another_order_and_keeps_lengths_close() {
        let lengths: Vec<usize> = (0..1000).map(|i| 5 + (i * 37) % 200).collect();
        let key = Key::new(1, Stream::Shuffle);
        let batches = shuffled(&lengths, 1000, key);
        assert_eq!(batches, shuffled(&lengths, 1000, key));
        assert_ne!(batches, shuffled(&lengths, 1000, key.child(1)));
        let spread = |batch: &Vec<usize>| {
            let of = |f: fn(usize, usize) -> usize, start| batch.iter().map(|&i| lengths[i]).fold(start, f);
            of(usize::max, 0) - of(usize::min, usize::MAX)
        };
        let mean = batches.iter().map(spread).sum::<usize>() / batches.len();
        assert!(mean < 50, "texts of a batch differ by {mean} tokens on average; the whole set by 199");
    }
}
