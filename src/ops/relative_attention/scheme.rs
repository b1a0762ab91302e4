//! How queries, keys and distances relate.

use std::sync::Arc;

use super::relations::Relations;
use crate::ops::dropout::Dropout;

/// The sequences, the heads, and the distances that have rows.
#[derive(Clone)]
pub struct RelativeScheme {
    pub relations: Arc<Relations>,
    pub heads: usize,
    /// The distance of the first row of `r`; the following rows are one less each.
    pub farthest: usize,
    pub dropout: Option<Dropout>,
}
