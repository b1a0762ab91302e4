//! What attends to what in relative attention: queries and keys of packed sequences, their positions, segments and masks.

use std::sync::Arc;

use crate::error::{Error, Result};

/// The queries and keys of `B` packed sequences. A sequence's keys are those of its memory, if it has any, and then its own,
/// at positions 0, 1 and so on. Its queries stand at positions of own keys: one at each of them in order, or any.
#[derive(Debug, Clone)]
pub struct Relations {
    /// Where the queries of each sequence begin, and the end, `[B + 1]`.
    pub query_starts: Arc<[u32]>,
    /// The position of each query, `[Tq]`.
    pub positions: Arc<[u32]>,
    /// The segment of each query, `[Tq]`.
    pub query_segments: Arc<[u32]>,
    /// Where the keys of each sequence begin, and the end, `[B + 1]`.
    pub key_starts: Arc<[u32]>,
    /// How many keys of each sequence are its memory, `[B]`.
    pub memory: Arc<[u32]>,
    /// The segment of each key, `[Tk]`.
    pub key_segments: Arc<[u32]>,
    /// Queries see no key at a later position than their own.
    pub causal: bool,
    /// Further keys that are hidden.
    pub permutation: Option<Permutation>,
}

/// Which own keys a query does not see; memory it sees in any case.
#[derive(Debug, Clone)]
pub struct Permutation {
    /// `[n, n]` for a sequence of `n` own keys, one sequence after the other: true where a query at the position of the row
    /// does not see the key at that of the column.
    pub hidden: Arc<[bool]>,
    /// Queries that see the key at their own position in any case, as those of the content stream do, `[Tq]`.
    pub sees_itself: Arc<[bool]>,
}

/// Where the queries and keys of one sequence lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub first_query: usize,
    pub queries: usize,
    pub first_key: usize,
    pub keys: usize,
    pub memory: usize,
    /// Where its mask begins.
    first_hidden: usize,
}

impl Sequence {
    /// Own keys.
    pub fn own(&self) -> usize {
        self.keys - self.memory
    }
}

impl Relations {
    /// The largest distance from a query back to a key, and how far ahead of a query a key may lie.
    pub fn reach(&self) -> (usize, usize) {
        let keys = |i: usize| (self.key_starts[i + 1] - self.key_starts[i]) as usize;
        let sequences = 0..self.memory.len();
        let own = sequences.clone().map(|i| keys(i) - self.memory[i] as usize).max().unwrap_or(0);
        (sequences.map(keys).max().unwrap_or(0).saturating_sub(1), own.saturating_sub(1))
    }

    /// The sequences, all checked: `queries` and `keys` are what there is of them.
    pub(super) fn sequences(&self, queries: usize, keys: usize) -> Result<Vec<Sequence>> {
        let bad = |what: &str| Err(Error::internal(format!("relative attention: {what}")));
        let covers = |starts: &[u32], n: usize| {
            starts.first() == Some(&0) && starts.last().is_some_and(|&end| end as usize == n) && starts.is_sorted()
        };
        if !covers(&self.query_starts, queries) || !covers(&self.key_starts, keys) {
            return bad(&format!("got {queries} queries and {keys} keys, other than the sequences have"));
        }
        let n = self.key_starts.len() - 1;
        if [self.query_starts.len(), self.memory.len()] != [n + 1, n] {
            return bad("queries, keys and memory are of other numbers of sequences");
        }
        if [self.positions.len(), self.query_segments.len(), self.key_segments.len()] != [queries, queries, keys] {
            return bad("positions or segments are not as many as queries or keys");
        }
        let (mut sequences, mut first_hidden) = (Vec::with_capacity(n), 0);
        for i in 0..n {
            let [first_query, end_query] = [i, i + 1].map(|i| self.query_starts[i] as usize);
            let [first_key, end_key] = [i, i + 1].map(|i| self.key_starts[i] as usize);
            let (keys, memory) = (end_key - first_key, self.memory[i] as usize);
            if memory > keys {
                return bad("a sequence has more memory than keys");
            }
            let queries = end_query - first_query;
            let sequence = Sequence { first_query, queries, first_key, keys, memory, first_hidden };
            let own = sequence.own();
            if self.positions[first_query..end_query].iter().any(|&position| position as usize >= own) {
                return bad("a query lies outside its sequence");
            }
            first_hidden += own * own;
            sequences.push(sequence);
        }
        if let Some(Permutation { hidden, sees_itself }) = &self.permutation
            && [hidden.len(), sees_itself.len()] != [first_hidden, queries]
        {
            return bad(&format!("a mask should have {first_hidden} values and be for {queries} queries"));
        }
        Ok(sequences)
    }

    /// The smallest and the largest position of the queries `first .. first + n`, at least one.
    pub(super) fn positions(&self, first: usize, n: usize) -> (usize, usize) {
        let positions = self.positions[first..first + n].iter().map(|&position| position as usize);
        positions.fold((usize::MAX, 0), |(low, high), position| (low.min(position), high.max(position)))
    }

    /// True where the query and the key are of different segments, for each key of a sequence.
    pub(super) fn differs<'a>(&'a self, sequence: &Sequence, query: usize) -> impl Iterator<Item = bool> + 'a {
        let own = self.query_segments[query];
        self.key_segments[sequence.first_key..][..sequence.keys].iter().map(move |&segment| segment != own)
    }

    /// Make the scores of the keys that `query` does not see negative infinity; whether it sees any.
    pub(super) fn hide(&self, sequence: &Sequence, query: usize, scores: &mut [f32]) -> bool {
        let position = self.positions[query] as usize;
        let (memory, own) = scores.split_at_mut(sequence.memory);
        let end = if self.causal { position + 1 } else { own.len() };
        own[end..].fill(f32::NEG_INFINITY);
        let Some(Permutation { hidden, sees_itself }) = &self.permutation else { return true };
        let hidden = &hidden[sequence.first_hidden + position * own.len()..];
        let mut sees = !memory.is_empty();
        for (key, (score, hidden)) in own[..end].iter_mut().zip(hidden).enumerate() {
            if *hidden && !(sees_itself[query] && key == position) {
                *score = f32::NEG_INFINITY;
            } else {
                sees = true;
            }
        }
        sees
    }
}
