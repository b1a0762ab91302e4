//! Which norm.

/// Layer norm, or that of the root mean square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Layer,
    RootMeanSquare,
}
