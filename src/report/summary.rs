//! The summary of a run after its last step.

use super::curve::Curve;
use super::record::{Record, Row};

/// Summary of a whole run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub last: Record,
    pub rows: Vec<Row>,
    pub curve: Curve,
    pub best_step: Option<usize>,
    pub best_score: Option<f64>,
    /// The step of the weights that were returned.
    pub kept_step: Option<usize>,
    pub stopped_early: bool,
}
