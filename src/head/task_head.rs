//! The head of a classifier, with the affine maps of sentence vectors where it stands on them.

use super::layers::Head;
use crate::autograd::Value;
use crate::backbone::{Config, Mode, Parameters, SentenceMaps, Task};
use crate::error::Result;
use crate::product::Precision;

/// From pooled hidden states to logits.
pub struct TaskHead {
    maps: Option<SentenceMaps>,
    head: Head,
}

impl TaskHead {
    /// From parameters; those that are trained receive gradients.
    pub fn load(params: &Parameters, config: &Config, task: Task, n_outputs: usize) -> Result<Self> {
        let options = config.head(task);
        let maps = options.is_on_sentence().then(|| SentenceMaps::load(params, config)).transpose()?;
        Ok(Self { maps, head: Head::load(params, config, options, n_outputs, Precision::F32)? })
    }

    /// Pooled hidden states `[B, k D]` to logits `[B, C]`.
    pub fn forward(&self, pooled: &Value, mode: Mode) -> Result<Value> {
        self.head.forward(&self.vectors(pooled)?, mode)
    }

    /// Pooled hidden states `[B, k D]` to what the last map takes.
    pub fn before_output(&self, pooled: &Value, mode: Mode) -> Result<Value> {
        self.head.before_output(&self.vectors(pooled)?, mode)
    }

    fn vectors(&self, pooled: &Value) -> Result<Value> {
        self.maps.as_ref().map_or(Ok(pooled.clone()), |maps| maps.forward(pooled))
    }
}
