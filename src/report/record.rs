//! Facts known before the first step, the record of each step, and the rows of the history.

use serde::{Deserialize, Serialize};

use super::exact;

/// Facts of a run known before its first step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub total_steps: usize,
    pub total_tokens: usize,
    /// Tokens already done, if the run resumes from a checkpoint.
    pub tokens_done: usize,
    pub steps_per_epoch: usize,
    pub batch_tokens: usize,
    pub trainable_parameters: usize,
    pub parameters: usize,
}

/// The state after an optimiser step. Tokens and time count from the start of training, evaluation excluded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub step: usize,
    #[serde(with = "exact")]
    pub epoch: f64,
    #[serde(with = "exact")]
    pub loss: f64,
    #[serde(with = "exact")]
    pub learning_rate: f64,
    #[serde(with = "exact")]
    pub grad_norm: f64,
    pub tokens: usize,
    #[serde(with = "exact")]
    pub elapsed_s: f64,
}

/// Result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    #[serde(with = "exact")]
    pub loss: f64,
    /// Higher is better.
    #[serde(with = "exact")]
    pub score: f64,
}

/// A row of a run's history, after an evaluation, or after an epoch if the run has no evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The record of the step; its loss is the mean since the previous row.
    pub record: Record,
    pub evaluation: Option<Evaluation>,
}
