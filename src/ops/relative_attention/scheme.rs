//! Layout of relative attention.

use std::sync::Arc;

use super::relations::Relations;
use crate::ops::dropout::Dropout;

/// The sequences, the heads, and the range of distances in `r`.
#[derive(Clone)]
pub struct RelativeScheme {
    pub relations: Arc<Relations>,
    pub heads: usize,
    /// Distance of the first row of `r`; it falls by one with each row.
    pub farthest: usize,
    pub dropout: Option<Dropout>,
}
