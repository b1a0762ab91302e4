//! How long and on what terms to pretrain.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::objective::LanguageObjective;
use crate::product::Precision;

/// The options of [`pretrain`](super::pretrain).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainOptions {
    /// See [`Strategy`].
    pub strategy: serde_json::Value,
    pub objective: LanguageObjective,
    pub epochs: usize,
    /// Optimiser steps; takes the place of `epochs`.
    pub max_steps: Option<usize>,
    /// Tokens of a batch at most.
    pub batch_tokens: usize,
    /// Batches whose gradients make one optimiser step.
    pub accumulation_steps: usize,
    /// The longest sequence in tokens, special ones included.
    pub max_length: usize,
    /// Optimiser steps between evaluations; none: at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Evaluations without improvement after which to stop; none: never.
    pub patience: Option<usize>,
    pub seed: u64,
    #[serde(default)]
    pub precision: Precision,
    /// Compute each layer again in the backward pass.
    #[serde(default)]
    pub recompute: bool,
    /// Where checkpoints go.
    pub checkpoint_dir: Option<PathBuf>,
    /// Optimiser steps from one to the next.
    pub checkpoint_every: Option<usize>,
}

impl PretrainOptions {
    /// # Errors
    /// `Error::Value` for counts of zero and a precision that is for prediction only.
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
        Ok(())
    }
}
