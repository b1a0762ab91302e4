//! A task: a name and a head.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets, Truth};
use crate::autograd::Var;
use crate::backbone::{Backbone, Config, HeadOptions, Level, Owner, Parameters, Spec};
use crate::error::{Error, Result};
use crate::matmul::Precision;

/// A task head on a backbone: its parameters, outputs, loss, and its entries in `config.json`. The names of the outputs
/// and their metrics are the estimator's.
pub trait Head: Debug + Send + Sync {
    /// Level of its outputs: texts, words or tokens.
    fn level(&self) -> Level;
    /// Number of outputs per item, `C`.
    fn n_outputs(&self) -> usize;
    /// Kind of targets that it is trained on.
    fn learns_from(&self) -> TargetKind;
    /// # Errors
    /// `Error::Value` for settings out of their range.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// Options of its layers, as defined by the model family.
    fn layers<'a>(&self, config: &'a Config) -> &'a HeadOptions {
        config.head(self.level())
    }
    /// Specs of all its parameters, some of which the backbone may own.
    fn specs(&self, config: &Config) -> Vec<Spec> {
        HeadLayers::specs(config, self.layers(config), self.n_outputs())
    }
    /// Build its layers from parameters; the trained ones receive gradients. Matrix products run in `precision`.
    fn load(&self, params: &Parameters, config: &Config, precision: Precision) -> Result<HeadLayers> {
        HeadLayers::load(params, config, self.layers(config), self.n_outputs(), precision)
    }
    /// Divisor that makes the summed loss of these targets a mean.
    fn normalizer(&self, targets: &Targets) -> f64;
    /// Summed loss of the items, divided by `normalizer`. `inputs [B, D']` is the input of the output layer.
    fn loss(&self, layers: &HeadLayers, inputs: &Var, targets: &Targets, normalizer: f64) -> Result<Var>;
    /// Decode outputs `[N, C]` to predictions: the likeliest class or token, 1 for each label with probability above
    /// 0.5, or the outputs themselves for regression.
    fn decode(&self, outputs: &[f32]) -> Truth {
        // Ties go to the first.
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
    /// Write the head's entries into a `config.json`; `names` are the names of its outputs.
    fn configure(&self, names: &[String], config: &mut Map<String, Json>);
    /// Settings that must be the same for a run to go on from a checkpoint.
    fn identity(&self) -> Map<String, Json>;
}

/// A task of a model.
#[derive(Debug, Clone)]
pub struct Task {
    /// Name of the task, which owns the head's parameters.
    pub name: Arc<str>,
    pub head: Arc<dyn Head>,
    /// Prefix of its parameters' names in a model with several heads; empty in a model with one.
    scope: String,
}

impl Task {
    /// A model's only task, named after the level of its outputs.
    pub fn only(head: impl Head + 'static) -> Self {
        Self::called(head.level().name(), head)
    }

    /// A model's only task, with this name.
    pub fn called(name: &str, head: impl Head + 'static) -> Self {
        Self { name: name.into(), head: Arc::new(head), scope: String::new() }
    }

    /// One of several tasks of a model: the names of its parameters get the prefix `heads.{name}.`, so that heads of
    /// the same kind can coexist.
    pub fn one_of_several(name: &str, head: impl Head + 'static) -> Self {
        Self { scope: format!("heads.{name}."), ..Self::called(name, head) }
    }

    /// Specs of the head's parameters that the backbone does not have already, owned by this task.
    pub fn specs(&self, config: &Config) -> Vec<Spec> {
        let (owner, backbone) = (Owner::head(&self.name), Backbone::specs(config));
        let own = self.head.specs(config).into_iter();
        own.filter(|spec| backbone.iter().all(|other| other.name != spec.name))
            .map(|spec| Spec { name: self.scoped(&spec.name), ..spec }.of(&owner))
            .collect()
    }

    /// Names of the weight and, if there is one, the bias of the output layer.
    pub fn output_layer(&self, config: &Config) -> (String, Option<String>) {
        let options = self.head.layers(config);
        let bias = Some(options.output_bias).filter(|name| !name.is_empty());
        (self.scoped(&format!("{}.weight", options.output)), bias.map(|name| self.scoped(name)))
    }

    /// # Errors
    /// `Error::Value` for one of several tasks: there is no directory layout for its parameters' names.
    pub(super) fn check_can_be_saved(&self) -> Result<()> {
        if self.scope.is_empty() {
            return Ok(());
        }
        Err(Error::Value(format!(
            "{:?} is one of several tasks: only the model of a single task can be saved",
            self.name
        )))
    }

    /// Full name of a parameter of the head.
    pub fn scoped(&self, name: &str) -> String {
        format!("{}{name}", self.scope)
    }

    /// Build the head's layers from parameters; the trained ones receive gradients. Matrix products run in `precision`.
    pub fn load(&self, params: &Parameters, config: &Config, precision: Precision) -> Result<HeadLayers> {
        if self.scope.is_empty() {
            return self.head.load(params, config, precision);
        }
        self.head.load(&params.within(&self.scope), config, precision)
    }
}
