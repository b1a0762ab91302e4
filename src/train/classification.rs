//! Fit a classifier of texts or of words.

use super::batches::{Batches, Groups, TextBatches};
use super::identity::{fingerprint_of, of_models};
use super::learner::{Found, Learner};
use super::monitor::Monitor;
use super::network::{Inputs, Network};
use super::options::ClassifierOptions;
use super::plan::Plan;
use super::trainer::{Outcome, train};
use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Backbone, Memory, Mode, Parameters, Task};
use crate::batch::in_order_of_length;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::{Classifier, LinearMap};
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

/// Train a classifier on a backbone, which stays as it is. Its last map begins at `start`, or as it is initialised.
pub fn fit(
    backbone: &Backbone,
    train_set: &Dataset,
    eval: Option<&Dataset>,
    options: &ClassifierOptions,
    start: Option<&LinearMap>,
    monitor: &mut dyn Monitor,
) -> Result<Outcome<Classifier>> {
    options.check()?;
    let ClassifierOptions { task, objective, training } = options;
    let words = *task == Task::Words;
    if train_set.encodings.has_words() != words || eval.is_some_and(|eval| eval.encodings.has_words() != words) {
        return Err(Error::internal("words are known of some texts and asked of others"));
    }
    if train_set.encodings.n_items() == 0 {
        return Err(Error::Value("no texts to train on".into()));
    }
    let targets = train_set.targets()?;
    objective.check_targets(&targets, train_set.encodings.n_items(), "training set")?;
    let held_out = eval.map(|eval| Ok::<_, Error>((Inputs::Tokens(eval.encodings), eval.targets()?))).transpose()?;
    if let Some((inputs, targets)) = &held_out {
        let n = inputs.n_items();
        if n == 0 {
            return Err(Error::Value("eval_set: no texts".into()));
        }
        objective.check_targets(targets, n, "eval_set")?;
        if objective.normalizer(targets, &(0..n).collect::<Vec<_>>()) <= 0.0 {
            return Err(Error::Value("eval_set: class_weight is 0 for every text in it".into()));
        }
    }
    let params = Classifier::initial(backbone, *task, objective.n_outputs, start, training.seed)?;
    let plan = Plan::of_classifier(training.how(), backbone, *task, objective.n_outputs)?;
    let params = plan.extended(params, training.seed)?;
    let mut learner = ClassifierLearner {
        backbone,
        params,
        options,
        frozen: plan.encoder_is_frozen(&backbone.config),
        batches: TextBatches::new(train_set.encodings.lengths(), training),
        inputs: Inputs::Tokens(train_set.encodings),
        targets,
        held_out,
    };
    train(&mut learner, &plan, training, monitor, |_, params| Ok(Classifier::new(backbone, params, *task)))
}

struct ClassifierLearner<'a> {
    backbone: &'a Backbone,
    params: Parameters,
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
    type Network = Network<'a>;
    type Step = Step;

    const BEST_BY_LOSS: bool = false;

    fn params(&self) -> &Parameters {
        &self.params
    }

    fn forget_networks(&self) {
        self.backbone.forget_encoder();
    }

    fn precompute(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        if !self.frozen {
            return Ok(());
        }
        let (config, options) = (&self.backbone.config, self.options);
        let held_out = self.held_out.as_mut().map(|(inputs, _)| inputs);
        for inputs in [&mut self.inputs].into_iter().chain(held_out) {
            *inputs = inputs.precomputed(&self.params, config, options, &mut |_| monitor.on_wait())?;
        }
        Ok(())
    }

    fn batches(&self) -> &dyn Batches {
        &self.batches
    }

    fn network(&self, params: &Parameters) -> Result<Network<'a>> {
        Network::load(params, &self.backbone.config, self.options)
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
        network: &Network,
        step: &mut Step,
        batch: usize,
        mode: Mode,
        _: &mut Option<Memory>,
    ) -> Result<Vec<Value>> {
        let texts = &step.groups[batch];
        let normalizer = if Self::asks(step) { step.normalizer } else { 1.0 };
        let logits = network.logits(&self.inputs, texts, mode)?;
        Ok(vec![self.options.objective.loss(&logits, &self.targets, &self.inputs.items(texts), normalizer)?])
    }

    fn remembers(&self) -> bool {
        false
    }

    fn evaluate(&self, network: &Network, monitor: &mut dyn Monitor) -> Result<Option<Found>> {
        let Some((inputs, targets)) = &self.held_out else { return Ok(None) };
        let objective = &self.options.objective;
        let (c, n) = (objective.n_outputs, inputs.n_items());
        let mut logits = vec![0f32; n * c];
        for texts in in_order_of_length(&inputs.lengths(), self.options.training.batch_tokens) {
            let out = in_pool(|| network.logits(inputs, &texts, Mode::inference()))?;
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

    fn identity(&self) -> Result<serde_json::Value> {
        let ClassifierOptions { task, objective, .. } = self.options;
        let mut all = serde_json::Map::from_iter([of_models(&[&self.backbone.config])]);
        all.insert("texts".into(), of_texts(&self.inputs, &self.targets));
        all.insert("task".into(), task.name().into());
        all.insert("class_weight".into(), serde_json::json!(objective.class_weight));
        all.insert("label_smoothing".into(), objective.label_smoothing.into());
        Ok(all.into())
    }

    fn held_out(&self) -> Result<Option<serde_json::Value>> {
        Ok(self.held_out.as_ref().map(|(inputs, targets)| of_texts(inputs, targets)))
    }
}

/// What texts and labels a run is given.
fn of_texts(inputs: &Inputs, targets: &Targets) -> serde_json::Value {
    let (encodings, bits) =
        (inputs.encodings(), |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
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
