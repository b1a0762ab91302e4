//! The plan a strategy compiles to: for every parameter, whether it is trained and its learning rate. The training loop
//! sees only the plan.

use std::sync::Arc;

use super::options::PretrainingOptions;
use super::pretrainable::Pretrainable;
use super::strategy::{Method, Strategy, StrategyPart};
use crate::backbone::{Backbone, Config, Level, Lora, LowRank, Owner, Parameters, Spec, Transformer, depth};
use crate::error::{Error, Result};
use crate::head::{Task, TaskModel};
use crate::optim::{OptimizerOptions, Trainable};
use crate::rng::{Key, Stream};

/// How a run treats one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterPlan {
    pub name: String,
    pub shape: Vec<usize>,
    pub owner: Owner,
    /// True if no computation uses it.
    pub idle: bool,
    pub trainable: bool,
    /// Peak learning rate; 0 if frozen.
    pub learning_rate: f64,
    pub weight_decay: f64,
}

/// The requested strategy and optimiser options.
type Terms<'a> = (&'a Strategy, &'a OptimizerOptions);

/// The training plan: one row per parameter, from the bottom of the model to its top.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rows: Vec<ParameterPlan>,
    /// The low-rank adapter that is added; its parameters are among the rows.
    added: Option<Arc<LowRank>>,
}

impl Plan {
    /// Compile a strategy for a backbone with the head of a task.
    pub fn of_task(terms: Terms, backbone: &Backbone, task: &Task) -> Result<Self> {
        backbone.params.check_without_adapters(
            "trained further; merge it into the weights first, with backbone.merge_adapter()",
        )?;
        let config = &backbone.config;
        let is_idle = |name: &str| {
            config.is_of_predictions(name)
                // Token-level heads do not use the pooler or sentence modules.
                || (task.head.level() == Level::Words && (config.is_pooler(name) || config.is_of_sentence(name)))
                // A head on sentence vectors does not use the pooler.
                || (config.is_pooler(name) && task.head.layers(config).is_on_sentence())
        };
        let begins_anew = |spec: &Spec| TaskModel::begins_anew(spec, backbone);
        Self::of(terms, config, TaskModel::specs(backbone, task), is_idle, begins_anew)
    }

    fn of(
        (strategy, optimizer): Terms,
        config: &Config,
        specs: Vec<Spec>,
        is_idle: impl Fn(&str) -> bool,
        begins_anew: impl Fn(&Spec) -> bool,
    ) -> Result<Self> {
        strategy.parts.iter().try_for_each(|part| part.method.check_layers(config))?;
        let add = |lora: &Lora| {
            let backbone = Backbone::specs(config);
            let adapter = lora.on(config, &backbone)?;
            let specs = adapter.specs(&backbone)?;
            Ok::<_, Error>((Arc::new(adapter), specs))
        };
        let added = strategy.lora().map(add).transpose()?;
        let row = |spec: Spec| {
            let idle = is_idle(&spec.name);
            let in_head = !matches!(spec.owner, Owner::Adapter(_)) && begins_anew(&spec);
            let factor = if in_head { Some(strategy.head_factor()) } else { strategy.factor(&spec, config) };
            let factor = factor.filter(|_| !idle);
            // Norm weights have one dimension; biases of attention heads and of relative distances have two.
            let decays = factor.is_some() && spec.shape.len() > 1 && !spec.name.contains("bias");
            ParameterPlan {
                idle,
                trainable: factor.is_some(),
                learning_rate: factor.map_or(0.0, |factor| factor * optimizer.learning_rate),
                weight_decay: if decays { optimizer.weight_decay } else { 0.0 },
                name: spec.name,
                shape: spec.shape,
                owner: spec.owner,
            }
        };
        let specs: Vec<Spec> = specs.into_iter().chain(added.iter().flat_map(|(_, specs)| specs.clone())).collect();
        for (i, part) in strategy.parts.iter().enumerate() {
            let trained_by = |parts: &[StrategyPart], spec: &Spec| {
                !is_idle(&spec.name) && parts.iter().any(|part| part.method.factor(spec, config).is_some())
            };
            let (before, name) = (&strategy.parts[..i], part.method.name());
            let own = std::slice::from_ref(part);
            if matches!(part.method, Method::LinearProbing {}) {
                continue;
            }
            if !specs.iter().any(|spec| trained_by(own, spec)) {
                let family = config.family.name;
                return Err(Error::Value(format!("{name} finds nothing to train in this backbone ({family})")));
            }
            if !specs.iter().any(|spec| trained_by(own, spec) && !trained_by(before, spec)) {
                return Err(Error::Value(format!("{name} trains nothing that the strategies before it do not train")));
            }
        }
        Ok(Self { rows: specs.into_iter().map(row).collect(), added: added.map(|(adapter, _)| adapter) })
    }

    /// Compile a strategy for pretraining a model with an objective.
    pub fn of_pretraining(model: &impl Pretrainable, options: &PretrainingOptions) -> Result<Self> {
        let PretrainingOptions { objective, training, .. } = options;
        let of_all =
            |part: &StrategyPart| matches!(part.method, Method::FullFineTuning { .. } | Method::LinearProbing {});
        if model.transformers().len() > 1 && !training.strategy.parts.iter().all(of_all) {
            return Err(Error::Value(
                "strategy: this objective trains a generator beside the model, which only FullFineTuning() and \
                 LinearProbing() are for"
                    .into(),
            ));
        }
        model.params().check_without_adapters(
            "trained further; merge it into the weights first, with backbone.merge_adapter()",
        )?;
        let is_idle = |name: &str| model.is_idle(name, objective);
        let in_head = |spec: &Spec| spec.owner != Owner::Backbone;
        Self::of((&training.strategy, &training.optimizer), &model.backbone().config, model.specs(), is_idle, in_head)
    }

    /// True if some computation uses the parameter.
    pub fn is_used(&self, name: &str) -> bool {
        self.rows.iter().any(|p| !p.idle && p.name == name)
    }

    /// True if no encoder parameter is trained, so that its output can be computed once.
    pub fn encoder_is_frozen(&self, config: &Config) -> bool {
        let learns = |spec: &Spec| self.rows.iter().any(|p| p.trainable && p.name == spec.name);
        self.added.is_none() && !Transformer::specs(config).iter().any(learns)
    }

    /// The number of topmost layers in which a step computes gradients: from the lowest that has a trained parameter on.
    pub(super) fn layers_with_gradients(&self, config: &Config) -> usize {
        let in_backbone = |row: &&ParameterPlan| row.trainable && !matches!(row.owner, Owner::Head(_));
        // Parameters that layers share have the depth of the topmost of them, and gradients begin at the lowest.
        let (n, groups) = (config.num_hidden_layers, config.layer_groups);
        let first_of_group =
            |depth: usize| if (1..=n).contains(&depth) { (depth - 1) * groups / n * n / groups + 1 } else { depth };
        let lowest = self.rows.iter().filter(in_backbone).map(|row| first_of_group(depth(&row.name, config))).min();
        lowest.map_or(0, |lowest| (config.num_hidden_layers + 1).saturating_sub(lowest).min(config.num_hidden_layers))
    }

    /// Values per token that adapters have their layers keep for the backward: of DoRA all outputs, of which those before
    /// an activation are kept anyway.
    pub(super) fn kept_by_adapters(&self, config: &Config) -> usize {
        let outputs = self.rows.iter().filter(|row| row.name.contains(".lora_magnitude_vector."));
        let before_activation = |row: &&ParameterPlan| {
            !config.feed_forward.gated && row.name.contains(&format!(".{}.lora_", config.family.names.up.name))
        };
        let outputs = outputs.filter(|row| !before_activation(row));
        let of_groups: usize = outputs.map(|row| row.shape.iter().product::<usize>()).sum();
        of_groups * config.num_hidden_layers / config.layer_groups.max(1)
    }

    /// The number of values in the weights of linear layers of the encoder that stay as they are.
    pub(super) fn frozen_map_values(&self, config: &Config) -> usize {
        let learns = |spec: &Spec| self.rows.iter().any(|row| row.trainable && row.name == spec.name);
        let maps = Transformer::specs(config).into_iter().filter(|spec| spec.map.is_some() && !learns(spec));
        maps.map(|spec| spec.shape.iter().product::<usize>()).sum()
    }

    /// The parameters of a model with those of the adapter added; their initial values follow from `seed`.
    pub fn extended(&self, mut params: Parameters, config: &Config, seed: u64) -> Result<Parameters> {
        if let Some(adapter) = &self.added {
            params.adapt(adapter, &Backbone::specs(config), Key::new(seed, Stream::Init))?;
        }
        Ok(params)
    }

    /// Number of trained values.
    pub fn trainable_count(&self) -> usize {
        self.rows.iter().filter(|p| p.trainable).map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Copies of the trained parameters: the optimiser writes to them, while those of a backbone may be memory mapped
    /// from a file.
    pub fn trainable(&self, params: &Parameters) -> Result<Vec<Trainable>> {
        let copy = |p: &ParameterPlan| {
            let array = params.get(&p.name)?.overwritable()?;
            let (learning_rate, weight_decay) = (p.learning_rate, p.weight_decay);
            Ok(Trainable { name: p.name.clone(), array, learning_rate, weight_decay })
        };
        self.rows.iter().filter(|p| p.trainable).map(copy).collect()
    }
}
