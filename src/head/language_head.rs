//! Language-modelling head: a logit for each token of the vocabulary; training never holds all logits at once.

use serde_json::{Map, Value as Json};

use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets, Truth};
use super::task::Head;
use crate::autograd::Var;
use crate::backbone::{Config, Level};
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::ops::vocabulary_loss::vocabulary_loss;

/// Language-modelling head.
#[derive(Debug, Clone)]
pub struct LanguageHead {
    vocab_size: usize,
    /// Precision of the matrix products of the loss.
    precision: Precision,
}

impl LanguageHead {
    /// The head for a backbone's vocabulary.
    pub fn new(config: &Config, precision: Precision) -> Self {
        Self { vocab_size: config.vocab_size, precision }
    }
}

impl Head for LanguageHead {
    fn level(&self) -> Level {
        Level::Tokens
    }

    fn n_outputs(&self) -> usize {
        self.vocab_size
    }

    fn learns_from(&self) -> TargetKind {
        TargetKind::Tokens
    }

    fn normalizer(&self, targets: &Targets) -> f64 {
        match &targets.truth {
            Truth::Tokens(tokens) => tokens.iter().flatten().count() as f64,
            _ => 0.0,
        }
    }

    fn loss(&self, layers: &HeadLayers, inputs: &Var, targets: &Targets, normalizer: f64) -> Result<Var> {
        match (&targets.truth, &targets.weights) {
            (Truth::Tokens(tokens), None) => {
                vocabulary_loss(inputs, layers.output(), tokens.clone(), normalizer, self.precision)
            }
            (other, _) => {
                Err(Error::internal(format!("tokens without weights are learnt from, got {:?}", other.kind())))
            }
        }
    }

    /// Writes nothing: the class in `architectures` is enough.
    fn configure(&self, _: &[String], _: &mut Map<String, Json>) {}

    fn identity(&self) -> Map<String, Json> {
        Map::new()
    }
}
