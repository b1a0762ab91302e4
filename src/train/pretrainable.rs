//! Models that can be pretrained: a language model, or a replaced-token detector with its generator.

use crate::autograd::Var;
use crate::backbone::{Backbone, Config, Memory, Mode, Parameters, Spec};
use crate::error::Result;
use crate::head::{DetectorNetwork, LanguageBatch, LanguageLoss, LanguageModel, LanguageNetwork, ReplacedDetector};
use crate::matmul::Precision;
use crate::objective::{LanguageObjective, sample};
use crate::rng::Key;

/// A model that can be pretrained.
pub trait Pretrainable: Send + Sync + Sized {
    type Network: Send + Sync;

    fn backbone(&self) -> &Backbone;
    fn params(&self) -> Parameters;
    /// Free the cached inference networks: training needs the memory.
    fn forget_networks(&self);
    /// Configurations of the transformers that a batch passes through, the one that predicts tokens first.
    fn transformers(&self) -> Vec<&Config>;
    /// Specs of all parameters, from the bottom to the top.
    fn specs(&self) -> Vec<Spec>;
    /// True if the objective does not use the parameter `name`.
    fn is_idle(&self, name: &str, objective: &LanguageObjective) -> bool;
    fn with_params(&self, all: &Parameters) -> Result<Self>;
    /// Build the network from parameters; the trained ones receive gradients.
    fn network(&self, params: &Parameters, precision: Precision) -> Result<Self::Network>;
    /// Loss terms of one micro-batch. They are divided by `asked`, the number of predicted tokens in the whole
    /// optimiser step, so that they sum to the step's mean loss. Also returns the hidden states to carry to the next
    /// segment.
    fn losses(network: &Self::Network, batch: LanguageBatch, asked: f64, pass: Pass) -> Result<Losses>;
    /// Summed loss over the predicted tokens of a batch.
    fn evaluate(network: &Self::Network, batch: LanguageBatch, pass: Pass) -> Result<f64>;
}

/// Loss terms of a batch, and the hidden states carried to the next one.
pub type Losses = (Vec<Var>, Option<Memory>);

/// Settings of one pass of a batch through a network.
pub struct Pass<'a> {
    pub objective: &'a LanguageObjective,
    pub mode: Mode,
    /// Key for the model's own random draws.
    pub draw: Key,
    /// Fraction of the step's tokens that are in this batch.
    pub share: f64,
}

impl Pretrainable for LanguageModel {
    type Network = LanguageNetwork;

    fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn transformers(&self) -> Vec<&Config> {
        vec![&self.backbone.config]
    }

    fn params(&self) -> Parameters {
        self.params()
    }

    fn forget_networks(&self) {
        self.forget_networks();
    }

    fn specs(&self) -> Vec<Spec> {
        [Backbone::specs(&self.backbone.config), Self::head_specs(&self.backbone.config)].concat()
    }

    fn is_idle(&self, name: &str, objective: &LanguageObjective) -> bool {
        let config = &self.backbone.config;
        let predicts = matches!(objective, LanguageObjective::Permutation { .. });
        config.is_pooler(name) || config.is_of_sentence(name) || (config.is_of_predictions(name) && !predicts)
    }

    fn with_params(&self, all: &Parameters) -> Result<Self> {
        Ok(self.with_params(all))
    }

    fn network(&self, params: &Parameters, precision: Precision) -> Result<LanguageNetwork> {
        LanguageNetwork::load(params, &self.backbone.config, precision)
    }

    fn losses(network: &LanguageNetwork, batch: LanguageBatch, asked: f64, pass: Pass) -> Result<Losses> {
        let LanguageLoss { loss, memory, .. } = network.loss(batch, asked, pass.mode)?;
        Ok((vec![loss], memory))
    }

    fn evaluate(network: &LanguageNetwork, batch: LanguageBatch, _: Pass) -> Result<f64> {
        Ok(network.losses(&batch)?.into_iter().flatten().map(f64::from).sum())
    }
}

impl Pretrainable for ReplacedDetector {
    type Network = DetectorNetwork;

    fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn transformers(&self) -> Vec<&Config> {
        vec![&self.generator.backbone.config, &self.backbone.config]
    }

    fn params(&self) -> Parameters {
        self.params()
    }

    fn forget_networks(&self) {
        self.backbone.forget_encoder();
        self.generator.forget_networks();
    }

    fn specs(&self) -> Vec<Spec> {
        self.specs()
    }

    fn is_idle(&self, name: &str, _: &LanguageObjective) -> bool {
        self.is_of_text_vectors(name)
    }

    fn with_params(&self, all: &Parameters) -> Result<Self> {
        self.with_params(all)
    }

    fn network(&self, params: &Parameters, precision: Precision) -> Result<DetectorNetwork> {
        self.network(params, precision)
    }

    fn losses(network: &DetectorNetwork, batch: LanguageBatch, asked: f64, pass: Pass) -> Result<Losses> {
        let weight = match pass.objective {
            LanguageObjective::Replaced { weight, .. } => *weight,
            _ => 1.0,
        };
        let drawn = |logits: &[f32], vocab_size: usize, key: Key| sample(logits, vocab_size, key);
        Ok((network.losses(batch, (asked, weight * pass.share), pass.mode, pass.draw, drawn)?.into(), None))
    }

    fn evaluate(network: &DetectorNetwork, batch: LanguageBatch, pass: Pass) -> Result<f64> {
        let asked = batch.n_asked() as f64;
        let (losses, _) = Self::losses(network, batch, asked.max(1.0), Pass { share: 1.0, ..pass })?;
        Ok(asked * losses.iter().map(|loss| loss.scalar().map(f64::from)).sum::<Result<f64>>()?)
    }
}
