//! The network of a task: from a batch of texts to outputs for the texts or their words, and to the loss.

use std::sync::Arc;

use super::layers::HeadLayers;
use super::targets::Targets;
use super::task::{Head, Task};
use crate::autograd::Var;
use crate::backbone::{Config, HeadOptions, Mode, Parameters, Pooling, Transformer};
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::matmul::Precision;

/// Encoder and task head.
pub struct TaskNetwork<'a> {
    encoder: Arc<Transformer>,
    head: Arc<dyn Head>,
    pub layers: HeadLayers,
    options: &'a HeadOptions,
    n_layers: usize,
}

impl<'a> TaskNetwork<'a> {
    /// An encoder with the head built from parameters; the trained ones receive gradients.
    pub fn new(encoder: Arc<Transformer>, params: &Parameters, config: &'a Config, task: &Task) -> Result<Self> {
        let head = task.head.clone();
        let (layers, options) = (task.load(params, config, Precision::F32)?, head.layers(config));
        Ok(Self { encoder, head, layers, options, n_layers: config.num_hidden_layers })
    }

    /// Input of the head: the pooled last hidden states, `[N, k D]`.
    pub fn pooled(&self, batch: &PackedBatch, mode: Mode) -> Result<Var> {
        let hidden = self.encoder.forward(batch, self.n_layers, mode)?;
        Pooling::join(&self.options.pooling, &hidden, batch)
    }

    /// Outputs `[N, C]` from pooled hidden states `[N, k D]`.
    pub fn outputs(&self, pooled: &Var, mode: Mode) -> Result<Var> {
        self.layers.forward(pooled, mode)
    }

    /// Summed loss from pooled hidden states `[N, k D]`, divided by `normalizer`.
    pub fn loss(&self, pooled: &Var, targets: &Targets, normalizer: f64, mode: Mode) -> Result<Var> {
        self.head.loss(&self.layers, &self.layers.before_output(pooled, mode)?, targets, normalizer)
    }
}
