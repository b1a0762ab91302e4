//! Permutation language modelling (XLNet, Yang et al. 2019): tokens are predicted one after another in a random order,
//! each from those before it in that order and from all tokens that are not predicted.
//!
//! Choice of the predicted tokens, as in the paper and transformers' `DataCollatorForPermutationLanguageModeling`
//! (5.x): a span of 1 to 5 tokens, its length uniform, lies at a uniform place in a context of six times its length.
//! Contexts follow one another, and the last may reach beyond the end. A sixth of the tokens are predicted, except
//! special ones in a span.
//!
//! Attention mask: the query stream at `i` sees the content at `j` if `hidden(i, j)` is false, so a predicted token
//! does not see itself; the content stream at `i` sees the same and always itself (`XLNetModel` opens the diagonal of
//! `perm_mask` for it). The ids of the content stream stay unchanged, as in XLNet; the query stream does not contain a
//! token's own id.
//!
//! Differences from transformers: there, predicted tokens are replaced by the mask in the content stream too, so that
//! they learn nothing from each other. There, special tokens have a place in the order as queries and see the tokens
//! predicted before them, while all tokens see them: with unmasked ids, a token would see itself through them. Here
//! they are treated like all tokens that are not predicted: seen by all, and seeing no predicted token. And there, each
//! half of the sequence has its own order, the first half before the second, because the first may be remembered for a
//! segment that begins with the second; here the order is one of the whole sequence, which is remembered as a whole or
//! not at all.

use crate::rng::Key;

/// Maximum number of tokens in a span.
const LONGEST: usize = 5;
/// Number of context tokens per predicted token.
const CONTEXT: usize = 6;

/// The predicted tokens and their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    /// Positions of the predicted tokens, from left to right.
    pub targets: Vec<u32>,
    /// Rank of each token in the order, from 1; 0 if it is not predicted.
    pub ranks: Vec<u32>,
}

impl Permutation {
    /// Draw the permutation of a sequence with one `special` flag per token. It may have no predicted tokens.
    pub fn draw(special: &[bool], key: Key) -> Self {
        let [length, place, order] = [0, 1, 2].map(|use_| key.child(use_));
        let mut predicted = vec![false; special.len()];
        let mut begin = 0;
        while begin < special.len() {
            let counter = begin as u64;
            let length = 1 + length.below(counter, LONGEST);
            let first = begin + place.below(counter, (CONTEXT - 1) * length + 1);
            predicted.iter_mut().skip(first).take(length).for_each(|predicted| *predicted = true);
            begin += CONTEXT * length;
        }
        let targets: Vec<u32> =
            (0u32..).zip(predicted.iter().zip(special)).filter(|(_, (p, s))| **p && !**s).map(|(i, _)| i).collect();
        let mut ranks = vec![0; special.len()];
        for (rank, target) in (1u32..).zip(order.permutation(targets.len())) {
            ranks[targets[target] as usize] = rank;
        }
        Self { targets, ranks }
    }

    /// True if `query` must not see the content of `key`.
    pub fn is_hidden(&self, query: usize, key: usize) -> bool {
        self.ranks[key] > 0 && self.ranks[query] <= self.ranks[key]
    }

    /// [`Permutation::is_hidden`] for all pairs, `[n, n]` with a row per query: transformers' `perm_mask`.
    pub fn hidden(&self) -> Vec<bool> {
        let n = self.ranks.len();
        (0..n * n).map(|at| self.is_hidden(at / n, at % n)).collect()
    }
}
