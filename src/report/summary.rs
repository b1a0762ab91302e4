//! What is known after the last step.

use super::curve::Curve;
use super::record::{Record, Row};

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub last: Record,
    pub rows: Vec<Row>,
    pub curve: Curve,
    pub best_step: Option<usize>,
    pub best_score: Option<f64>,
    /// Of which step the weights are that were handed back.
    pub kept_step: Option<usize>,
    pub stopped_early: bool,
}
