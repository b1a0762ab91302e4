//! Fit a classifier of texts or of words.

use super::batches::{Batches, Groups, TextBatches};
use super::identity::{MODEL, fingerprint_of, of_models};
use super::inputs::Inputs;
use super::learner::{Found, Learner};
use super::monitor::Monitor;
use super::options::ClassifierOptions;
use super::plan::Plan;
use super::trainer::{Outcome, train};
use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Backbone, Memory, Mode, Parameters, Task, Transformer};
use crate::batch::in_order_of_length;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::{Classifier, ClassifierNetwork, Start};
use crate::objective::{Labels, Targets};
use crate::text::Encodings;

/// Texts with the labels of what is classified in them.
pub struct Dataset<'a> {
    pub encodings: &'a Encodings,
    pub labels: Labels,
    /// Of each text; none: all count the same.
    pub sample_weight: Option<Vec<f32>>,
}

impl Dataset<'_> {
    /// What the logits are held against; a text's weight is that of all its words.
    fn targets(&self) -> Result<Targets> {
        let of_text = |weights: &Vec<f32>| {
            let n = self.encodings.len();
            if weights.len() != n || weights.iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
                return Err(Error::Value(format!("sample_weight: expected {n} finite numbers of 0 or more")));
            }
            Ok((0..n).flat_map(|text| self.encodings.items(text).map(move |_| weights[text])).collect())
        };
        let weights = self.sample_weight.as_ref().map(of_text).transpose()?;
        Ok(Targets { labels: self.labels.clone(), weights })
    }
}

/// Train a classifier on a backbone, which stays as it is, from `start` on.
pub fn fit<'a>(
    backbone: &Backbone,
    train_set: &Dataset<'a>,
    eval: Option<&Dataset<'a>>,
    options: &ClassifierOptions,
    start: Start,
    monitor: &mut dyn Monitor,
) -> Result<Outcome<Classifier>> {
    options.check()?;
    let ClassifierOptions { task, objective, training } = options;
    let checked = |set: &Dataset<'a>, name: &str| -> Result<(Inputs<'a>, Targets)> {
        let n = set.encodings.n_items();
        if set.encodings.has_words() != (*task == Task::Words) {
            return Err(Error::internal("words are known of some texts and asked of others"));
        }
        if n == 0 {
            return Err(Error::Value(format!("{name}: no texts")));
        }
        let targets = set.targets()?;
        objective.check_targets(&targets, n, name)?;
        Ok((Inputs::new(set.encodings), targets))
    };
    let (inputs, targets) = checked(train_set, "training set")?;
    let held_out = eval.map(|eval| checked(eval, "eval_set")).transpose()?;
    if let Some((inputs, targets)) = &held_out
        && objective.normalizer(targets, &(0..inputs.encodings.n_items()).collect::<Vec<_>>()) <= 0.0
    {
        return Err(Error::Value("eval_set: class_weight is 0 for every text in it".into()));
    }
    let params = Classifier::initial(backbone, *task, objective.n_outputs, start, training.seed)?;
    let plan = Plan::of_classifier((&training.strategy, &training.optimizer), backbone, *task, objective.n_outputs)?;
    let params = plan.extended(params, training.seed)?;
    let mut learner = ClassifierLearner {
        backbone,
        options,
        frozen: plan.encoder_is_frozen(&backbone.config),
        batches: TextBatches::new(train_set.encodings.lengths(), training),
        inputs,
        targets,
        held_out,
    };
    backbone.forget_encoder();
    train(&mut learner, &params, &plan, training, monitor, |params| Ok(Classifier::new(backbone, params, *task)))
}

struct ClassifierLearner<'a> {
    backbone: &'a Backbone,
    options: &'a ClassifierOptions,
    /// True if nothing below the head learns.
    frozen: bool,
    batches: TextBatches<'a>,
    inputs: Inputs<'a>,
    targets: Targets,
    held_out: Option<(Inputs<'a>, Targets)>,
}

/// Batches of texts, and what the sum of their losses is divided by.
struct Step {
    groups: Groups,
    normalizer: f64,
}

impl<'a> Learner for ClassifierLearner<'a> {
    type Network = ClassifierNetwork<'a>;
    type Step = Step;

    const BEST_BY_LOSS: bool = false;

    fn precompute(&mut self, params: &Parameters, monitor: &mut dyn Monitor) -> Result<()> {
        if !self.frozen {
            return Ok(());
        }
        let (network, config) = (self.network(params)?, &self.backbone.config);
        let width = config.hidden_size * config.head(self.options.task).pooling.len();
        let budget = self.options.training.batch_tokens;
        let held_out = self.held_out.as_mut().map(|(inputs, _)| inputs);
        for inputs in [&mut self.inputs].into_iter().chain(held_out) {
            inputs.precompute(&network, (width, params), budget, &mut |_| monitor.on_wait())?;
        }
        Ok(())
    }

    fn batches(&self) -> &dyn Batches {
        &self.batches
    }

    fn network(&self, params: &Parameters) -> Result<ClassifierNetwork<'a>> {
        let (config, ClassifierOptions { task, objective, training }) = (&self.backbone.config, self.options);
        let encoder = Transformer::load(params, config, training.precision)?;
        ClassifierNetwork::new(encoder.into(), params, config, *task, objective.n_outputs)
    }

    fn step(&self, groups: &Groups, _: usize) -> Result<Step> {
        let all: Vec<usize> = groups.iter().flatten().copied().collect();
        let normalizer = self.options.objective.normalizer(&self.targets, &self.inputs.items(&all));
        Ok(Step { groups: groups.clone(), normalizer })
    }

    /// Not of texts that all have weight zero.
    fn asks(step: &Step) -> bool {
        step.normalizer > 0.0
    }

    fn losses(
        &self,
        network: &ClassifierNetwork,
        step: &mut Step,
        batch: usize,
        mode: Mode,
        _: &mut Option<Memory>,
    ) -> Result<Vec<Value>> {
        if !Self::asks(step) {
            return Ok(Vec::new());
        }
        let texts = &step.groups[batch];
        let logits = self.inputs.logits(network, texts, mode)?;
        Ok(vec![self.options.objective.loss(&logits, &self.targets, &self.inputs.items(texts), step.normalizer)?])
    }

    fn evaluate(&self, network: &ClassifierNetwork, monitor: &mut dyn Monitor) -> Result<Option<Found>> {
        let Some((inputs, targets)) = &self.held_out else { return Ok(None) };
        let objective = &self.options.objective;
        let (c, n) = (objective.n_outputs, inputs.encodings.n_items());
        let mut logits = vec![0f32; n * c];
        for texts in in_order_of_length(&inputs.encodings.lengths(), self.options.training.batch_tokens) {
            let out = in_pool(|| inputs.logits(network, &texts, Mode::inference()))?;
            for (item, row) in inputs.items(&texts).into_iter().zip(out.array().values()?.chunks_exact(c)) {
                logits[item * c..][..c].copy_from_slice(row);
            }
            monitor.on_wait()?;
        }
        let all: Vec<usize> = (0..n).collect();
        let rows = Array::new(logits, (n, c))?;
        let normalizer = objective.normalizer(targets, &all);
        let loss = objective.loss(&Value::constant(rows.clone()), targets, &all, normalizer)?.scalar()?;
        Ok(Some(Found { loss: f64::from(loss), outputs: rows.into_vec()? }))
    }

    fn nothing_asked(&self) -> Error {
        Error::Value("class_weight and sample_weight are 0 for every text: there is nothing to learn".into())
    }

    fn identity(&self) -> serde_json::Value {
        let ClassifierOptions { task, objective, .. } = self.options;
        serde_json::json!({
            MODEL: of_models(&[&self.backbone.config]),
            "texts": of_texts(&self.inputs, &self.targets),
            "task": task.name(),
            "class_weight": objective.class_weight,
            "label_smoothing": objective.label_smoothing,
        })
    }

    fn held_out(&self) -> Option<serde_json::Value> {
        self.held_out.as_ref().map(|(inputs, targets)| of_texts(inputs, targets))
    }
}

/// What texts and labels a run is given.
fn of_texts(inputs: &Inputs, targets: &Targets) -> serde_json::Value {
    let (encodings, bits) = (inputs.encodings, |values: &[f32]| bytemuck::cast_slice::<f32, u32>(values).to_vec());
    let labels = match &targets.labels {
        Labels::Classes(classes) => classes.clone(),
        Labels::Indicators(values) => bits(values),
    };
    let weights = targets.weights.as_deref().map(bits).unwrap_or_default();
    serde_json::json!({
        "how many": encodings.len(),
        "ids": fingerprint_of((0..encodings.len()).map(|text| encodings.ids(text))),
        "labels": fingerprint_of([labels.as_slice()].into_iter()),
        "weights": fingerprint_of([weights.as_slice()].into_iter()),
    })
}
