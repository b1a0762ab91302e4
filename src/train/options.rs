//! How long and on what terms to train, whatever is trained.

use std::path::PathBuf;

use super::strategy::Strategy;
use crate::error::{Error, Result};
use crate::head::Task;
use crate::objective::LanguageObjective;
use crate::optim::OptimizerOptions;
use crate::product::Precision;

/// Which weights a run hands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those of the best evaluation; the last ones where nothing is evaluated.
    Best,
    Last,
}

/// What every run has, of classification as of pretraining.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    pub strategy: Strategy,
    pub optimizer: OptimizerOptions,
    pub epochs: usize,
    /// Optimiser steps; takes the place of `epochs`.
    pub max_steps: Option<usize>,
    /// Tokens of a batch at most, unless a single text is longer.
    pub batch_tokens: usize,
    /// Batches whose gradients make one optimiser step.
    pub accumulation_steps: usize,
    /// Optimiser steps between evaluations; none: at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Evaluations without improvement after which to stop; none: never.
    pub patience: Option<usize>,
    pub keep: Keep,
    pub seed: u64,
    /// Of the products; weights, sums and the optimiser's state are f32.
    pub precision: Precision,
    /// Keep only the input of each layer and compute the layer again in the backward pass: less memory, more time, the
    /// same result.
    pub recompute: bool,
    /// Where checkpoints go.
    pub checkpoint_dir: Option<PathBuf>,
    /// Optimiser steps from one checkpoint to the next; none: one at the end.
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

/// What is learnt.
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

/// What a language model learns from, and how sequences are cut.
#[derive(Debug, Clone)]
pub struct PretrainingOptions {
    pub objective: LanguageObjective,
    /// The longest sequence in tokens, special ones included.
    pub max_length: usize,
    pub training: TrainingOptions,
}
