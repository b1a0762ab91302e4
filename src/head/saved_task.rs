//! The task of a saved model, found from its `config.json`.

use serde_json::{Map, Value};

use super::classification::Classification;
use super::regression::Regression;
use super::targets::TargetKind;
use super::task::Task;
use crate::backbone::{Config, Level};
use crate::error::{Error, Result};
use crate::ops::regression_loss::Penalty;

impl Task {
    /// The task of a model with outputs of this kind, with default settings of the loss.
    ///
    /// # Errors
    /// `Error::Value` for tokens, which only a language model predicts.
    pub fn of_outputs(kind: TargetKind, n_outputs: usize) -> Result<Self> {
        Ok(match kind {
            TargetKind::Classes => Self::only(Classification::new(Level::Texts, n_outputs, false)),
            TargetKind::Indicators => Self::only(Classification::new(Level::Texts, n_outputs, true)),
            TargetKind::Tags => Self::only(Classification::new(Level::Words, n_outputs, false)),
            TargetKind::Numbers => Self::only(Regression::new(vec![Penalty::Squared; n_outputs])),
            TargetKind::Tokens => {
                return Err(Error::Value(format!("a model of {kind:?} has no such head")));
            }
        })
    }

    /// The task that the `config.json` written by its head describes.
    pub(super) fn of_config(config: &Config) -> Result<Self> {
        let is_of_words =
            |name: &Value| name.as_str().is_some_and(|name| name.ends_with(config.family.class_of_head(Level::Words)));
        let names = config.raw.get("architectures").and_then(Value::as_array);
        let kind = match config.raw.get("problem_type").and_then(Value::as_str) {
            _ if names.is_some_and(|names| names.iter().any(is_of_words)) => TargetKind::Tags,
            Some("multi_label_classification") => TargetKind::Indicators,
            Some("regression") => TargetKind::Numbers,
            _ => TargetKind::Classes,
        };
        Self::of_outputs(kind, config.raw.get("id2label").and_then(Value::as_object).map_or(0, Map::len))
    }
}
