//! Queries and keys of packed sequences in relative attention: their positions, segments and masks.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Queries and keys of `B` packed sequences. The keys of a sequence are those of its memory, if any, followed by its
/// own, at positions 0, 1 and so on. Its queries are at positions of own keys: one at each in order, or any selection.
#[derive(Debug, Clone)]
pub struct Relations {
    /// Start of the queries of each sequence, then the total, `[B + 1]`.
    pub query_starts: Arc<[u32]>,
    /// Position of each query, `[Tq]`.
    pub positions: Arc<[u32]>,
    /// Segment id of each query, `[Tq]`.
    pub query_segments: Arc<[u32]>,
    /// Start of the keys of each sequence, then the total, `[B + 1]`.
    pub key_starts: Arc<[u32]>,
    /// Number of memory keys of each sequence, `[B]`.
    pub memory: Arc<[u32]>,
    /// Segment id of each key, `[Tk]`.
    pub key_segments: Arc<[u32]>,
    /// Causal mask: queries do not see keys at later positions.
    pub causal: bool,
    /// Additional mask for permutation language modelling.
    pub permutation: Option<Permutation>,
}

/// Mask of the own keys that each query does not see; memory is always visible.
#[derive(Debug, Clone)]
pub struct Permutation {
    /// `[n, n]` for each sequence of `n` own keys, concatenated: true if a query at the position of the row does not
    /// see the key at the position of the column.
    pub hidden: Arc<[bool]>,
    /// Whether each query sees the key at its own position regardless of the mask, as in XLNet's content stream,
    /// `[Tq]`.
    pub sees_itself: Arc<[bool]>,
}

/// Ranges of the queries and keys of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub first_query: usize,
    pub queries: usize,
    pub first_key: usize,
    pub keys: usize,
    pub memory: usize,
    /// Offset of its permutation mask.
    first_hidden: usize,
}

impl Sequence {
    /// Number of own keys.
    pub fn own(&self) -> usize {
        self.keys - self.memory
    }
}

impl Relations {
    /// Largest distance from a query back to a key, and from a query forward to a key.
    pub fn reach(&self) -> (usize, usize) {
        let keys = |i: usize| (self.key_starts[i + 1] - self.key_starts[i]) as usize;
        let sequences = 0..self.memory.len();
        let own = sequences.clone().map(|i| keys(i) - self.memory[i] as usize).max().unwrap_or(0);
        (sequences.map(keys).max().unwrap_or(0).saturating_sub(1), own.saturating_sub(1))
    }

    /// Checks and returns the sequences, given the numbers of `queries` and `keys`.
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

    /// Smallest and largest position of the queries `first .. first + n`, with `n >= 1`.
    pub(super) fn positions(&self, first: usize, n: usize) -> (usize, usize) {
        let positions = self.positions[first..first + n].iter().map(|&position| position as usize);
        positions.fold((usize::MAX, 0), |(low, high), position| (low.min(position), high.max(position)))
    }

    /// For each key of the sequence, whether it is in another segment than the query.
    pub(super) fn differs<'a>(&'a self, sequence: &Sequence, query: usize) -> impl Iterator<Item = bool> + 'a {
        let own = self.query_segments[query];
        self.key_segments[sequence.first_key..][..sequence.keys].iter().map(move |&segment| segment != own)
    }

    /// Sets the scores of keys that `query` does not see to negative infinity; returns whether it sees any key.
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
