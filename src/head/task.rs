//! What a task is: a name, and a head.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets, Truth};
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
    /// What outputs `[N, C]` say: the likeliest class or token, 1 for each label that is likelier than not, or the numbers that
    /// they are.
    fn decode(&self, outputs: &[f32]) -> Truth {
        // Of equal ones the first.
        let better = |best: (u32, f32), (i, z): (usize, &f32)| if *z > best.1 { (i as u32, *z) } else { best };
        let of_row = |row: &[f32]| row.iter().enumerate().skip(1).fold((0, row[0]), better).0;
        let likeliest = || outputs.chunks_exact(self.n_outputs()).map(of_row);
        match self.learns_from() {
            TargetKind::Classes | TargetKind::Tags => Truth::Classes(likeliest().collect()),
            TargetKind::Tokens => Truth::Tokens(likeliest().map(Some).collect()),
            TargetKind::Indicators => {
                Truth::Indicators(outputs.iter().map(|z| f32::from(u8::from(*z > 0.0))).collect())
            }
            TargetKind::Numbers => Truth::Numbers(outputs.to_vec()),
        }
    }
    /// Write what a head of outputs of these names is into a `config.json`.
    fn configure(&self, names: &[String], config: &mut Map<String, Json>);
    /// Settings that must be the same for a run to go on from a checkpoint.
    fn identity(&self) -> Map<String, Json>;
}

/// A task of a model.
#[derive(Debug, Clone)]
pub struct Task {
    /// Whose its parameters are.
    pub name: Arc<str>,
    pub head: Arc<dyn Head>,
    /// Before the names of its parameters in a model with several heads; empty where it has one.
    scope: String,
}

impl Task {
    /// A model's only task, called after what it says something of.
    pub fn only(head: impl Head + 'static) -> Self {
        Self::called(head.level().name(), head)
    }

    /// A model's only task.
    pub fn called(name: &str, head: impl Head + 'static) -> Self {
        Self { name: name.into(), head: Arc::new(head), scope: String::new() }
    }

    /// One of the tasks of a model: its parameters have its name before theirs, so that heads alike stand beside each other.
    pub fn one_of_several(name: &str, head: impl Head + 'static) -> Self {
        Self { scope: format!("heads.{name}."), ..Self::called(name, head) }
    }

    /// The head's parameters that a backbone does not have already, as those of this task.
    pub fn specs(&self, config: &Config) -> Vec<Spec> {
        let (owner, backbone) = (Owner::head(&self.name), Backbone::specs(config));
        let own = self.head.specs(config).into_iter();
        own.filter(|spec| backbone.iter().all(|other| other.name != spec.name))
            .map(|spec| Spec { name: self.scoped(&spec.name), ..spec }.of(&owner))
            .collect()
    }

    /// The name of a parameter of its head.
    pub fn scoped(&self, name: &str) -> String {
        format!("{}{name}", self.scope)
    }

    /// The head's function; parameters that are trained receive gradients. Products are computed in `precision`.
    pub fn load(&self, params: &Parameters, config: &Config, precision: Precision) -> Result<HeadLayers> {
        if self.scope.is_empty() {
            return self.head.load(params, config, precision);
        }
        self.head.load(&params.within(&self.scope), config, precision)
    }
}
