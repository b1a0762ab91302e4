//! The plan a strategy compiles to: for every parameter, whether it learns and how fast. The loop knows nothing else.

use super::strategy::{Method, Strategy};
use crate::backbone::{Backbone, Config, Parameters, Spec, Transformer, depth};
use crate::error::Result;
use crate::head::{LanguageModel, SequenceClassifier};
use crate::optim::Trainable;

/// What a run does with one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterPlan {
    pub name: String,
    pub shape: Vec<usize>,
    pub trainable: bool,
    /// The peak; 0 if frozen.
    pub learning_rate: f64,
    pub weight_decay: f64,
}

/// A row for each parameter, from the bottom of the model to its top.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan(pub Vec<ParameterPlan>);

impl Plan {
    /// Compile `strategy` for a backbone with a classification head.
    pub fn compile(strategy: &Strategy, backbone: &Backbone, n_outputs: usize) -> Self {
        let config = &backbone.config;
        let learns = |name: &str| match strategy.method {
            Method::FullFineTuning => !config.is_of_predictions(name),
            Method::LinearProbing => SequenceClassifier::is_head(name, backbone),
        };
        Self::of(strategy, config, SequenceClassifier::specs(backbone, n_outputs), learns)
    }

    fn of(strategy: &Strategy, config: &Config, specs: Vec<Spec>, learns: impl Fn(&str) -> bool) -> Self {
        let top = config.num_hidden_layers + 1;
        let row = |spec: Spec| {
            let trainable = learns(&spec.name);
            let below_top = top - depth(&spec.name, config);
            // The weights of norms have one dimension; biases of heads have two.
            let decays = trainable && spec.shape.len() > 1 && !spec.name.ends_with("bias");
            ParameterPlan {
                trainable,
                // The topmost layer learns as fast as the head.
                learning_rate: if trainable {
                    strategy.learning_rate * strategy.layer_decay.powi(below_top.saturating_sub(1) as i32)
                } else {
                    0.0
                },
                weight_decay: if decays { strategy.weight_decay } else { 0.0 },
                name: spec.name,
                shape: spec.shape,
            }
        };
        Self(specs.into_iter().map(row).collect())
    }

    /// Compile `strategy` for a language model; what stands for tokens to predict learns if the objective has `predictions`.
    pub fn of_language_model(strategy: &Strategy, model: &LanguageModel, predictions: bool) -> Self {
        let config = &model.backbone.config;
        let head = LanguageModel::head_specs(config);
        let in_head = |name: &str| head.iter().any(|spec| spec.name == name);
        let learns = |name: &str| match strategy.method {
            _ if config.is_pooler(name) => false,
            Method::FullFineTuning => predictions || !config.is_of_predictions(name),
            Method::LinearProbing => in_head(name),
        };
        let specs = [Backbone::specs(config), head.clone()].concat();
        Self::of(strategy, config, specs, learns)
    }

    /// True if nothing of the encoder learns: its output can be computed once.
    pub fn encoder_is_frozen(&self, config: &Config) -> bool {
        let learns = |spec: &Spec| self.0.iter().any(|p| p.trainable && p.name == spec.name);
        !Transformer::specs(config).iter().any(learns)
    }

    /// How many values learn.
    pub fn trainable_count(&self) -> usize {
        self.0.iter().filter(|p| p.trainable).map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Copies of the parameters that learn: the optimiser writes to them, while those of a backbone may be a file's own memory.
    pub fn trainable(&self, params: &Parameters) -> Result<Vec<Trainable>> {
        let learns = self.0.iter().filter(|p| p.trainable);
        learns
            .map(|p| {
                Ok(Trainable {
                    name: p.name.clone(),
                    tensor: params.get(&p.name)?.force_contiguous()?,
                    learning_rate: p.learning_rate,
                    weight_decay: p.weight_decay,
                })
            })
            .collect()
    }
}
