//! A strategy: how a pretrained model is adapted, as data.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::optim::ScheduleKind;

/// Which parameters learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All of them.
    FullFineTuning,
    /// The head alone.
    LinearProbing,
}

/// The fields of `warmstart.FullFineTuning` and `warmstart.LinearProbing`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    pub method: Method,
    /// The peak, of the head and the topmost layer.
    pub learning_rate: f64,
    /// Factor of the learning rate from one layer to the one below.
    #[serde(default = "one")]
    pub layer_decay: f64,
    /// Not applied to biases and norms.
    pub weight_decay: f64,
    pub schedule: ScheduleKind,
    /// Part of all steps during which the learning rate rises.
    pub warmup_ratio: f64,
    /// Gradients are scaled down to this norm; none: never.
    pub max_grad_norm: Option<f64>,
    pub label_smoothing: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

fn one() -> f64 {
    1.0
}

impl Strategy {
    /// Parse JSON and check ranges.
    pub fn parse(json: serde_json::Value) -> Result<Self> {
        let strategy: Self = serde_json::from_value(json).map_err(|e| Error::Value(format!("strategy: {e}")))?;
        strategy.check()?;
        Ok(strategy)
    }

    fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, ok: bool, range: &str| {
            if ok { Ok(()) } else { Err(Error::Value(format!("strategy: {name}={value}: expected {range}"))) }
        };
        let positive = |x: f64| x > 0.0 && x.is_finite();
        within("learning_rate", self.learning_rate, positive(self.learning_rate), "a positive number")?;
        within(
            "layer_decay",
            self.layer_decay,
            self.layer_decay > 0.0 && self.layer_decay <= 1.0,
            "more than 0, at most 1",
        )?;
        within(
            "weight_decay",
            self.weight_decay,
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            "0 or more",
        )?;
        within("warmup_ratio", self.warmup_ratio, (0.0..=1.0).contains(&self.warmup_ratio), "0 to 1")?;
        let norm = self.max_grad_norm.unwrap_or(1.0);
        within("max_grad_norm", norm, positive(norm), "a positive number or None")?;
        within(
            "label_smoothing",
            self.label_smoothing,
            (0.0..1.0).contains(&self.label_smoothing),
            "0 or more, less than 1",
        )?;
        within("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "0 or more, less than 1")?;
        within("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "0 or more, less than 1")?;
        within("epsilon", self.epsilon, positive(self.epsilon), "a positive number")
    }
}
