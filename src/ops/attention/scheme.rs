//! Attention layout: sequences, heads and the span of keys that each query sees.

use std::ops::Range;
use std::sync::Arc;

use super::rotary::Rotary;
use crate::error::{Error, Result};
use crate::ops::dropout::Dropout;

/// The sequences, the heads, and which keys a query sees.
#[derive(Clone)]
pub struct Scheme {
    /// Cumulative sequence lengths `[B + 1]`. Tokens attend only within their own sequence.
    pub cu_seqlens: Arc<[u32]>,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads, which divides `heads`: query head `h` uses key head `h / (heads / key_heads)`
    /// (grouped-query attention, Ainslie et al. 2023).
    pub key_heads: usize,
    pub span: Span,
    /// Rotary embedding of queries and keys by their position within the sequence.
    pub rotary: Option<Arc<Rotary>>,
    /// Dropout of the attention probabilities.
    pub dropout: Option<Dropout>,
}

/// The keys that a query at position `i` of its sequence sees: those at `i - before ..= i + after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub before: usize,
    pub after: usize,
}

impl Span {
    /// All keys of the sequence.
    pub const ALL: Self = Self { before: usize::MAX, after: usize::MAX };
    /// Causal attention: no key after the query.
    pub const CAUSAL: Self = Self { before: usize::MAX, after: 0 };

    /// The range of keys that at least one of the queries `row .. row + rows` sees, in a sequence of `len` tokens.
    pub(in crate::ops) fn keys(self, row: usize, rows: usize, len: usize) -> Range<usize> {
        row.saturating_sub(self.before)..(row + rows).saturating_add(self.after).min(len)
    }
}

impl Scheme {
    /// Returns an error if shapes `[T, width]` do not fit.
    pub(super) fn check(&self, [q, k, v]: [(usize, usize); 3]) -> Result<()> {
        let (tokens, width) = k;
        let (heads, key_heads, starts) = (self.heads, self.key_heads, &self.cu_seqlens);
        let size = width.checked_div(key_heads).unwrap_or(0);
        if key_heads == 0
            || !heads.is_multiple_of(key_heads)
            || [q, k, v] != [(tokens, heads * size), (tokens, key_heads * size), k]
            || !starts.is_sorted()
            || starts.first() != Some(&0)
            || starts.last().is_some_and(|&end| end as usize != tokens)
        {
            return Err(Error::internal(format!(
                "attention: got q, k, v of {q:?}, {k:?}, {v:?}, {heads} heads, {key_heads} of keys, sequences {starts:?}"
            )));
        }
        if let Some(rotary) = &self.rotary {
            let longest = starts.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0);
            rotary.check(longest, size)?;
        }
        Ok(())
    }

    /// Dropout of one row of probabilities; each of the `T` queries has its own random key for each head.
    pub(super) fn row_dropout(&self, query: usize, head: usize) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.child((query * self.heads + head) as u64))
    }
}
