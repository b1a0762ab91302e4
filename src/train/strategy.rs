//! A strategy: which parameters of a pretrained model are trained, and their relative learning rates.

use serde::Serialize;

use crate::backbone::LowRank;
use crate::error::{Error, Result};

/// Which parameters are trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All parameters.
    FullFineTuning,
    /// Only the head.
    LinearProbing,
    /// The head and low-rank matrices added to linear layers of the backbone (LoRA).
    LowRank(LowRank),
}

/// The fields of `warmstart.FullFineTuning` and `warmstart.LinearProbing`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Strategy {
    pub method: Method,
    /// Layer-wise learning-rate decay: the factor from one layer to the one below.
    pub layer_decay: f64,
}

impl Strategy {
    /// # Errors
    /// `Error::Value` for a number out of its range.
    pub fn check(&self) -> Result<()> {
        if self.layer_decay > 0.0 && self.layer_decay <= 1.0 {
            return Ok(());
        }
        Err(Error::Value(format!("strategy: layer_decay={}: expected more than 0, at most 1", self.layer_decay)))
    }
}
