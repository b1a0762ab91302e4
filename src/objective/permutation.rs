//! Permutation language modelling (XLNet, Yang et al. 2019): tokens are predicted one after another in a random order, each
//! from those before it in that order and from all that are not predicted.
//!
//! Which: as the paper and transformers' `DataCollatorForPermutationLanguageModeling` (5.x) have it, a span of 1 to 5 tokens,
//! each length as likely, lies somewhere in a context of six times its length, each place as likely; one context follows the
//! other, the last may reach beyond the end. A sixth of the tokens are predicted; special ones that lie in a span are not.
//!
//! What sees what: the query stream at `i` sees the content at `j` where `hidden(i, j)` is false, so a predicted token does
//! not see itself; the content stream at `i` sees the same, and itself always (`XLNetModel` opens the diagonal of `perm_mask`
//! for it). The ids of a content stream stay as they are, as in XLNet; what nobody may know of a token is not in its place in
//! the query stream.
//!
//! Where this is not what transformers does: there the ids of predicted tokens are replaced by the mask in the content stream
//! too, so that predicted tokens learn nothing from each other. Special tokens have a place in its order as queries, and see
//! what is predicted before them, while all see them: with true ids, a token would see itself through them. Here they are
//! like all that is not predicted: seen by all, and seeing nothing predicted. And the order there is one of each half of the
//! sequence, the first before the second, because the first may be remembered for a segment that begins with the second; here
//! it is one of the whole sequence, of which all or nothing may be remembered.

use crate::rng::Key;

/// Tokens of the longest span.
const LONGEST: usize = 5;
/// Tokens for each that is predicted.
const CONTEXT: usize = 6;

/// The tokens that are predicted, and their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    /// Positions of those that are predicted, from left to right.
    pub targets: Vec<u32>,
    /// Of each token: its place in the order, from 1 on; 0 if it is not predicted.
    pub ranks: Vec<u32>,
}

impl Permutation {
    /// Of a sequence of as many tokens as there are flags. There may be none to predict.
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

    /// [`Permutation::is_hidden`] for all pairs, `[n, n]`, a row for each query: transformers' `perm_mask`.
    pub fn hidden(&self) -> Vec<bool> {
        let n = self.ranks.len();
        (0..n * n).map(|at| self.is_hidden(at / n, at % n)).collect()
    }
}
