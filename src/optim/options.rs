//! Settings of AdamW and of the learning rate schedule.

use serde::Serialize;

use super::schedule::ScheduleKind;
use crate::error::{Error, Result};

/// The fields of `warmstart.AdamW`, and the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptimizerOptions {
    /// Peak learning rate of the head and the topmost layer.
    pub learning_rate: f64,
    /// Weight decay; not applied to biases and norms.
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub schedule: ScheduleKind,
    /// Fraction of all steps used for warm-up.
    pub warmup_ratio: f64,
    /// Gradients are clipped to this global norm; None disables clipping.
    pub max_grad_norm: Option<f64>,
}

impl OptimizerOptions {
    /// # Errors
    /// `Error::Value` for a number out of range.
    pub fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, ok: bool, range: &str| {
            if ok { Ok(()) } else { Err(Error::Value(format!("{name}={value}: expected {range}"))) }
        };
        let positive = |name: &str, x: f64, range: &str| within(name, x, x > 0.0 && x.is_finite(), range);
        let below_one = |name: &str, x: f64| within(name, x, (0.0..1.0).contains(&x), "0 or more, less than 1");
        positive("learning_rate", self.learning_rate, "a positive number")?;
        let decay = self.weight_decay;
        within("weight_decay", decay, decay >= 0.0 && decay.is_finite(), "0 or more")?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        positive("epsilon", self.epsilon, "a positive number")?;
        within("warmup_ratio", self.warmup_ratio, (0.0..=1.0).contains(&self.warmup_ratio), "0 to 1")?;
        positive("max_grad_norm", self.max_grad_norm.unwrap_or(1.0), "a positive number or None")
    }
}
