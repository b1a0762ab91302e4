//! Options of training: those of every run, of a task and of pretraining.

use std::path::PathBuf;

use super::strategy::Strategy;
use crate::error::{Error, Result};
use crate::head::Task;
use crate::matmul::Precision;
use crate::objective::LanguageObjective;
use crate::optim::OptimizerOptions;

/// Which weights a run returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The weights of the best evaluation; the last ones if there is no evaluation.
    Best,
    Last,
}

/// Options that every run has, fine-tuning and pretraining alike.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    pub strategy: Strategy,
    pub optimizer: OptimizerOptions,
    pub epochs: usize,
    /// Number of optimiser steps; replaces `epochs`.
    pub max_steps: Option<usize>,
    /// Maximum number of tokens in a batch, unless a single text is longer.
    pub batch_tokens: usize,
    /// Number of micro-batches whose gradients are accumulated for one optimiser step.
    pub accumulation_steps: usize,
    /// Optimiser steps between evaluations; none: one at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Stop after this many evaluations without improvement; none: never.
    pub patience: Option<usize>,
    pub keep: Keep,
    pub seed: u64,
    /// Precision of the matrix products; weights, sums and the optimiser's state are f32.
    pub precision: Precision,
    /// Activation checkpointing: keep only the input of each layer and recompute the layer in the backward pass. Takes
    /// less memory and more time, with the same result.
    pub recompute: bool,
    /// Directory of the checkpoints.
    pub checkpoint_dir: Option<PathBuf>,
    /// Optimiser steps between checkpoints; none: one at the end.
    pub checkpoint_every: Option<usize>,
}

impl TrainingOptions {
    /// # Errors
    /// `Error::Value` for counts of zero, numbers out of their range, and a precision that is for prediction only.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("epochs", self.epochs),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("batch_tokens", self.batch_tokens),
            ("accumulation_steps", self.accumulation_steps),
            ("eval_every", self.eval_every.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
            ("checkpoint_every", self.checkpoint_every.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::Value(format!("{name}=0: expected at least 1")));
            }
        }
        if self.precision == Precision::Int8 {
            return Err(Error::Value(
                "precision=\"int8\" cannot be trained in; use \"auto\", \"f32\" or \"bf16\"".into(),
            ));
        }
        self.strategy.check()?;
        self.optimizer.check()
    }
}

/// Options for training a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    pub task: Task,
    pub training: TrainingOptions,
}

impl TaskOptions {
    pub(super) fn check(&self) -> Result<()> {
        self.training.check()?;
        self.task.head.check()
    }
}

/// Options of pretraining: the objective and how documents are cut into sequences.
#[derive(Debug, Clone)]
pub struct PretrainingOptions {
    pub objective: LanguageObjective,
    /// Maximum sequence length in tokens, special tokens included.
    pub max_length: usize,
    pub training: TrainingOptions,
}
