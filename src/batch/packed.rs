//! Packed batches: the sequences are concatenated, without padding.

use std::sync::Arc;

use crate::text::Encodings;

/// A batch of `B` sequences with `T` tokens in total.
#[derive(Debug, Clone)]
pub struct PackedBatch {
    /// Indices of the texts in the dataset, `[B]`.
    pub examples: Vec<usize>,
    /// Token ids, `[T]`.
    pub ids: Arc<[u32]>,
    /// Position of each token in its own sequence, `[T]`.
    pub positions: Arc<[u32]>,
    /// Segment id (token type) of each token, `[T]`.
    pub segments: Arc<[u32]>,
    /// Cumulative sequence lengths: start of each sequence, then the total `T`, `[B + 1]`.
    pub cu_seqlens: Arc<[u32]>,
    /// Row of the first token of each word; empty if word boundaries are unknown.
    pub words: Arc<[u32]>,
}

impl PackedBatch {
    /// Pack the texts `examples`, in this order, into one batch.
    pub fn collate(encodings: &Encodings, examples: Vec<usize>) -> Self {
        let total = examples.iter().map(|&i| encodings.ids(i).len()).sum();
        let (mut ids, mut positions, mut segments) =
            (Vec::with_capacity(total), Vec::with_capacity(total), Vec::with_capacity(total));
        let (mut cu_seqlens, mut words) = (vec![0u32], Vec::new());
        for &example in &examples {
            let tokens = encodings.ids(example);
            words.extend(encodings.words(example).iter().map(|word| ids.len() as u32 + word));
            ids.extend_from_slice(tokens);
            positions.extend(0..tokens.len() as u32);
            segments.extend(encodings.segments(example).iter().map(|&s| u32::from(s)));
            cu_seqlens.push(ids.len() as u32);
        }
        Self {
            examples,
            ids: ids.into(),
            positions: positions.into(),
            segments: segments.into(),
            cu_seqlens: cu_seqlens.into(),
            words: words.into(),
        }
    }

    /// Number of tokens in the batch, `T`.
    pub fn n_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Length of the longest sequence, in tokens.
    pub fn longest(&self) -> usize {
        self.cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0)
    }

    /// Row of each sequence's last token, `[B]`. Sequences must not be empty.
    pub fn last_tokens(&self) -> Arc<[u32]> {
        self.cu_seqlens[1..].iter().map(|end| end.saturating_sub(1)).collect()
    }

    /// Row of each sequence's first token, `[B]`.
    pub fn first_tokens(&self) -> Arc<[u32]> {
        self.cu_seqlens[..self.cu_seqlens.len() - 1].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collate_when_lengths_differ_packs_without_padding() {
        let encodings = Encodings::from_ids(&[(vec![5, 6, 7], vec![0, 0, 1]), (vec![8], vec![0]), (vec![], vec![])]);
        let batch = PackedBatch::collate(&encodings, vec![1, 2, 0]);
        assert_eq!(*batch.ids, [8, 5, 6, 7]);
        assert_eq!(*batch.positions, [0, 0, 1, 2]);
        assert_eq!(*batch.segments, [0, 0, 0, 1]);
        assert_eq!(*batch.cu_seqlens, [0, 1, 1, 4]);
        assert_eq!(*batch.first_tokens(), [0, 1, 1]);
        assert!(batch.words.is_empty());
        assert_eq!((encodings.items(2), encodings.n_items()), (2..3, 3));
    }

    #[test]
    fn collate_when_words_are_known_finds_their_rows() {
        let encodings =
            Encodings::from_ids(&[(vec![5, 6, 7], vec![0, 0, 1]), (vec![8], vec![0]), (vec![9, 4], vec![0; 2])])
                .with_words(&[vec![1, 2], vec![], vec![1]]);
        assert_eq!(*PackedBatch::collate(&encodings, vec![2, 1, 0]).words, [1, 4, 5]);
        assert_eq!((encodings.items(0), encodings.items(1), encodings.items(2)), (0..2, 2..2, 2..3));
        assert_eq!(encodings.n_items(), 3);
    }
}
