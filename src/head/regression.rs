//! Regression head for texts: squared, Huber or pinball loss.

use serde_json::{Map, Value as Json, json};

use super::classification::name_outputs;
use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets, Truth};
use super::task::Head;
use crate::autograd::Var;
use crate::backbone::Level;
use crate::error::{Error, Result};
use crate::ops::regression_loss::{Penalty, RegressionLoss, regression_loss};

/// Regression head: a real number for each output of a text, and its loss.
#[derive(Debug, Clone)]
pub struct Regression {
    /// Penalty of the residuals of each output, `[C]`.
    penalties: Vec<Penalty>,
}

impl Regression {
    /// Head with one output for each penalty.
    pub fn new(penalties: Vec<Penalty>) -> Self {
        Self { penalties }
    }

    /// The summed loss of `predictions [B, C]`, divided by `normalizer`.
    fn loss_of_predictions(&self, predictions: &Var, targets: &Targets, normalizer: f64) -> Result<Var> {
        let Truth::Numbers(values) = &targets.truth else {
            return Err(Error::internal(format!("numbers are learnt from, got {}", targets.truth.kind().name())));
        };
        let (targets, row_weight) = (values.clone(), targets.weights.clone());
        regression_loss(
            predictions,
            RegressionLoss { targets, penalties: self.penalties.clone(), row_weight, normalizer },
        )
    }
}

impl Head for Regression {
    fn level(&self) -> Level {
        Level::Texts
    }

    fn n_outputs(&self) -> usize {
        self.penalties.len()
    }

    fn learns_from(&self) -> TargetKind {
        TargetKind::Numbers
    }

    fn check(&self) -> Result<()> {
        if self.penalties.is_empty() {
            return Err(Error::Value("n_outputs=0: expected at least 1".into()));
        }
        for penalty in &self.penalties {
            match *penalty {
                Penalty::Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                    return Err(Error::Value(format!("huber_delta={delta}: expected a finite number above 0")));
                }
                Penalty::Pinball { quantile } if !(quantile > 0.0 && quantile < 1.0) => {
                    return Err(Error::Value(format!("quantile={quantile}: expected a number between 0 and 1")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Weighted number of rows times the number of outputs, so that the loss is a mean over rows and outputs.
    fn normalizer(&self, targets: &Targets) -> f64 {
        let n = targets.truth.len(self.n_outputs());
        let rows = targets.weights.as_ref().map_or(n as f64, |weights| weights.iter().map(|w| f64::from(*w)).sum());
        rows * self.n_outputs() as f64
    }

    fn loss(&self, layers: &HeadLayers, inputs: &Var, targets: &Targets, normalizer: f64) -> Result<Var> {
        self.loss_of_predictions(&layers.outputs(inputs)?, targets, normalizer)
    }

    fn configure(&self, names: &[String], config: &mut Map<String, Json>) {
        name_outputs(names, config);
        config.insert("problem_type".into(), "regression".into());
    }

    fn identity(&self) -> Map<String, Json> {
        let penalties: Vec<String> = self.penalties.iter().map(ToString::to_string).collect();
        [("loss".to_string(), json!(penalties))].into_iter().collect()
    }
}
