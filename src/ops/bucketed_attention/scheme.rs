//! Attention layout: sequences, heads and relative position buckets.

use std::sync::Arc;

use super::buckets::Buckets;
use crate::error::{Error, Result};
use crate::ops::dropout::Dropout;

/// The sequences, the heads, and the table row of each distance.
#[derive(Clone)]
pub struct BucketedScheme {
    /// Cumulative sequence lengths `[B + 1]`. Tokens attend to all of their own sequence.
    pub cu_seqlens: Arc<[u32]>,
    pub heads: usize,
    pub buckets: Buckets,
    /// Factor of all products in the scores.
    pub scale: f32,
    /// Dropout of the attention probabilities.
    pub dropout: Option<Dropout>,
}

/// Shapes of the inputs.
pub(super) struct Shapes {
    pub qkv: [(usize, usize); 3],
    pub position_keys: Option<(usize, usize)>,
    pub position_queries: Option<(usize, usize)>,
    pub bias: Option<(usize, usize)>,
}

impl BucketedScheme {
    /// Returns an error if shapes do not fit.
    pub(super) fn check(&self, shapes: &Shapes) -> Result<()> {
        let ([q, k, v], starts) = (shapes.qkv, &self.cu_seqlens);
        let (tokens, width) = q;
        let fits = self.heads > 0
            && width > 0
            && width.is_multiple_of(self.heads)
            && [k, v] == [q, q]
            && starts.is_sorted()
            && starts.first() == Some(&0)
            && starts.last().is_some_and(|&end| end as usize == tokens);
        let tables = [
            shapes.position_keys.map(|shape| (shape, width)),
            shapes.position_queries.map(|shape| (shape, width)),
            shapes.bias.map(|shape| (shape, self.heads)),
        ];
        if !fits || tables.iter().flatten().any(|((_, columns), expected)| columns != expected) {
            return Err(Error::internal(format!(
                "attention: got q, k, v of {:?}, keys, queries and biases by distance of {:?}, {:?}, {:?}, {} heads, \
                 sequences {starts:?}",
                shapes.qkv, shapes.position_keys, shapes.position_queries, shapes.bias, self.heads
            )));
        }
        let longest = starts.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0);
        let rows = tables.iter().flatten().map(|((rows, _), _)| *rows).min();
        self.buckets.check(longest, rows.unwrap_or(usize::MAX))
    }
}
