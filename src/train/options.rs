//! How long and on what terms to train.

use serde::Deserialize;

use crate::backbone::Task;
use crate::error::{Error, Result};
use crate::product::Precision;

/// How long and on what terms to train.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitOptions {
    /// See [`Strategy`].
    pub strategy: serde_json::Value,
    /// What is classified.
    #[serde(default)]
    pub task: Task,
    pub n_outputs: usize,
    pub multi_label: bool,
    pub epochs: usize,
    /// Optimiser steps; takes the place of `epochs`.
    pub max_steps: Option<usize>,
    /// Tokens of a batch at most, unless a single text is longer.
    pub batch_tokens: usize,
    /// Batches whose gradients make one optimiser step.
    pub accumulation_steps: usize,
    pub class_weight: Option<Vec<f32>>,
    /// Optimiser steps between evaluations; none: at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Evaluations without improvement after which to stop; none: never.
    pub patience: Option<usize>,
    pub seed: u64,
    /// Of the encoder's products; weights, sums and the optimiser's state are f32.
    #[serde(default)]
    pub precision: Precision,
    /// Keep only the input of each layer and compute the layer again in the backward pass: less memory, more time, the
    /// same result.
    #[serde(default)]
    pub recompute: bool,
}

impl FitOptions {
    pub(super) fn check(&self) -> Result<()> {
        let at_least_one = |name: &str, value: usize| match value {
            0 => Err(Error::Value(format!("{name}=0: expected at least 1"))),
            _ => Ok(()),
        };
        at_least_one("n_outputs", self.n_outputs)?;
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_tokens", self.batch_tokens)?;
        at_least_one("accumulation_steps", self.accumulation_steps)?;
        at_least_one("max_steps", self.max_steps.unwrap_or(1))?;
        at_least_one("eval_every", self.eval_every.unwrap_or(1))?;
        at_least_one("patience", self.patience.unwrap_or(1))?;
        if self.precision == Precision::Int8 {
            return Err(Error::Value(
                "precision=\"int8\" cannot be trained in; use \"auto\", \"f32\" or \"bf16\"".into(),
            ));
        }
        match &self.class_weight {
            Some(w) if w.len() != self.n_outputs || w.iter().any(|w| !(*w >= 0.0 && w.is_finite())) => {
                Err(Error::Value(format!(
                    "class_weight: expected {} finite numbers of 0 or more, got {w:?}",
                    self.n_outputs
                )))
            }
            _ => Ok(()),
        }
    }
}
