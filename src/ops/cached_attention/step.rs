//! What a step of generation adds.

use crate::ops::attention::{Rotary, Span};

/// New tokens of each sequence, and how they attend.
pub struct Step<'a> {
    /// Where the new tokens of each sequence begin, and the end, `[B + 1]`.
    pub cu_seqlens: &'a [u32],
    pub heads: usize,
    pub key_heads: usize,
    pub span: Span,
    pub rotary: Option<&'a Rotary>,
}

impl Step<'_> {
    /// `T`, of all sequences.
    pub(super) fn tokens(&self) -> usize {
        self.cu_seqlens.last().map_or(0, |&end| end as usize)
    }
}
