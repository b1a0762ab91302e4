//! What a task is: a name, and a head.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets};
use crate::autograd::Value;
use crate::backbone::{Backbone, Config, HeadOptions, Level, Owner, Parameters, Spec};
use crate::error::Result;
use crate::product::Precision;

/// What stands on a backbone for a task: its parameters, what they make of hidden states, how wrong that is, and what
/// `config.json` says of it. What the outputs are called, and how they are scored, is the estimator's.
pub trait Head: Debug + Send + Sync {
    /// What it says something of.
    fn level(&self) -> Level;
    /// Numbers that it gives each of them, `C`.
    fn n_outputs(&self) -> usize;
    /// What it learns from.
    fn learns_from(&self) -> TargetKind;
    /// # Errors
    /// `Error::Value` for settings out of their range.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// Its layers, as the model's family has them.
    fn layers<'a>(&self, config: &'a Config) -> &'a HeadOptions {
        config.head(self.level())
    }
    /// All its parameters, of which the backbone may have some.
    fn specs(&self, config: &Config) -> Vec<Spec> {
        HeadLayers::specs(config, self.layers(config), self.n_outputs())
    }
    /// Its function; parameters that are trained receive gradients. Products are computed in `precision`.
    fn load(&self, params: &Parameters, config: &Config, precision: Precision) -> Result<HeadLayers> {
        HeadLayers::load(params, config, self.layers(config), self.n_outputs(), precision)
    }
    /// What the losses of these targets are divided by, together, to be a mean.
    fn normalizer(&self, targets: &Targets) -> f64;
    /// The summed loss of items, divided by `normalizer`. `inputs [B, D']` is what the last map takes.
    fn loss(&self, layers: &HeadLayers, inputs: &Value, targets: &Targets, normalizer: f64) -> Result<Value>;
    /// Write what a head of outputs of these names is into a `config.json`.
    fn configure(&self, names: &[String], config: &mut Map<String, Json>);
    /// Settings that must be the same for a run to go on from a checkpoint.
    fn identity(&self) -> Map<String, Json>;
}

/// A task of a model.
#[derive(Debug, Clone)]
pub struct Task {
    /// What its parameters are told by.
    pub name: Arc<str>,
    pub head: Arc<dyn Head>,
}

impl Task {
    /// A model's only task, called after what it says something of.
    pub fn only(head: impl Head + 'static) -> Self {
        Self { name: head.level().name().into(), head: Arc::new(head) }
    }

    /// The head's parameters that a backbone does not have already, as those of this task.
    pub fn specs(&self, config: &Config) -> Vec<Spec> {
        let (owner, backbone) = (Owner::head(&self.name), Backbone::specs(config));
        let own = self.head.specs(config).into_iter();
        own.filter(|spec| backbone.iter().all(|other| other.name != spec.name)).map(|spec| spec.of(&owner)).collect()
    }
}
