//! One generation step with a key-value cache.

use crate::ops::attention::{Rotary, Span};

/// The new tokens of each sequence, and their attention settings.
pub struct Step<'a> {
    /// Start of the new tokens of each sequence, then the total, `[B + 1]`.
    pub cu_seqlens: &'a [u32],
    pub heads: usize,
    pub key_heads: usize,
    pub span: Span,
    pub rotary: Option<&'a Rotary>,
}

impl Step<'_> {
    /// Number of new tokens of all sequences, `T`.
    pub(super) fn tokens(&self) -> usize {
        self.cu_seqlens.last().map_or(0, |&end| end as usize)
    }
}
