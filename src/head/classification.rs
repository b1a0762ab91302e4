//! The head of `transformers.BertForSequenceClassification` (5.x): `classifier(dropout(tanh(pooler(first token))))`.

use crate::autograd::Value;
use crate::backbone::{Config, Linear, Mode, Parameters, Spec, linear_specs};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::dropout::dropout;
use crate::product::Precision;

/// Pooler and classifier.
pub struct ClassificationHead {
    pooler: Linear,
    classifier: Linear,
    dropout: f64,
}

impl ClassificationHead {
    /// The parameters that a backbone does not have already.
    pub fn specs(config: &Config, n_outputs: usize) -> Vec<Spec> {
        let mut specs = Vec::new();
        linear_specs(&mut specs, "classifier", n_outputs, config.hidden_size, config.initializer_range);
        specs
    }

    /// From parameters; those that are trained receive gradients.
    pub fn load(params: &Parameters, config: &Config) -> Result<Self> {
        Ok(Self {
            pooler: Linear::load(params, "pooler.dense", Some(Activation::Tanh), Precision::F32)?,
            classifier: Linear::load(params, "classifier", None, Precision::F32)?,
            dropout: config.classifier_dropout(),
        })
    }

    /// Last hidden state of each first token `[B, D]` to logits `[B, C]`.
    pub fn forward(&self, first: &Value, mode: Mode) -> Result<Value> {
        let pooled = self.pooler.forward(first)?;
        self.classifier.forward(&match mode.dropout("classifier", self.dropout) {
            Some(p) => dropout(&pooled, p)?,
            None => pooled,
        })
    }
}
