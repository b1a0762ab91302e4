//! The trained function of a classifier: a batch of texts to logits of them, or of their words.

use std::sync::Arc;

use super::task_head::TaskHead;
use crate::autograd::Value;
use crate::backbone::{Config, Mode, Parameters, Pooling, Task, Transformer};
use crate::batch::PackedBatch;
use crate::error::Result;

/// Encoder and head.
pub struct ClassifierNetwork<'a> {
    encoder: Arc<Transformer>,
    pub head: TaskHead,
    config: &'a Config,
    task: Task,
}

impl<'a> ClassifierNetwork<'a> {
    /// An encoder with the head of all parameters; those that are trained receive gradients.
    pub fn new(
        encoder: Arc<Transformer>,
        params: &Parameters,
        config: &'a Config,
        task: Task,
        n_outputs: usize,
    ) -> Result<Self> {
        let head = TaskHead::load(params, config, task, n_outputs)?;
        Ok(Self { encoder, head, config, task })
    }

    /// What the head takes: the pooled last hidden states of what is classified, `[N, k D]`.
    pub fn pooled(&self, batch: &PackedBatch, mode: Mode) -> Result<Value> {
        let hidden = self.encoder.forward(batch, self.config.num_hidden_layers, mode)?;
        Pooling::join(&self.config.head(self.task).pooling, &hidden, batch)
    }

    /// Logits `[N, C]`.
    pub fn logits(&self, batch: &PackedBatch, mode: Mode) -> Result<Value> {
        self.head.forward(&self.pooled(batch, mode)?, mode)
    }
}
