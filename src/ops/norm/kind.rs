//! Kinds of norm.

/// Layer norm or RMS norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Layer,
    RootMeanSquare,
}
