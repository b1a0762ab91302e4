//! Fit a classifier: put plan, network, data and options together, run, and hand back the best weights.

use std::time::Instant;

use serde::Deserialize;

use super::monitor::Monitor;
use super::network::Inputs;
use super::plan::Plan;
use super::run::Run;
use super::strategy::Strategy;
use crate::backbone::{Backbone, initialise};
use crate::batch::shuffled;
use crate::error::{Error, Result};
use crate::head::{ClassificationHead, SequenceClassifier};
use crate::objective::{Classification, Labels};
use crate::report::{Facts, Summary};
use crate::rng::{Key, Stream};
use crate::text::Encodings;

/// Texts with their labels.
pub struct Dataset<'a> {
    pub encodings: &'a Encodings,
    pub labels: Labels,
}

/// How long and on what terms to train.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitOptions {
    /// See [`Strategy`].
    pub strategy: serde_json::Value,
    pub n_outputs: usize,
    pub multi_label: bool,
    pub epochs: usize,
    /// Optimiser steps; takes the place of `epochs`.
    pub max_steps: Option<usize>,
    /// Tokens of a batch at most, unless a single text is longer.
    pub batch_tokens: usize,
    /// Batches whose gradients make one optimiser step.
    pub accumulation_steps: usize,
    pub class_weight: Option<Vec<f32>>,
    /// Optimiser steps between evaluations; none: at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Evaluations without improvement after which to stop; none: never.
    pub patience: Option<usize>,
    pub seed: u64,
}

/// What came of a run.
pub struct Outcome {
    /// None if the run was stopped before anything good was learnt.
    pub model: Option<SequenceClassifier>,
    pub summary: Summary,
    pub facts: Facts,
    /// What stopped the run, if it did not end by itself.
    pub stopped: Option<Error>,
}

impl FitOptions {
    fn check(&self) -> Result<()> {
        let at_least_one = |name: &str, value: usize| match value {
            0 => Err(Error::Value(format!("{name}=0: expected at least 1"))),
            _ => Ok(()),
        };
        at_least_one("n_outputs", self.n_outputs)?;
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_tokens", self.batch_tokens)?;
        at_least_one("accumulation_steps", self.accumulation_steps)?;
        at_least_one("max_steps", self.max_steps.unwrap_or(1))?;
        at_least_one("eval_every", self.eval_every.unwrap_or(1))?;
        at_least_one("patience", self.patience.unwrap_or(1))?;
        match &self.class_weight {
            Some(w) if w.len() != self.n_outputs || w.iter().any(|w| !(*w >= 0.0 && w.is_finite())) => {
                Err(Error::Value(format!(
                    "class_weight: expected {} finite numbers of 0 or more, got {w:?}",
                    self.n_outputs
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Train a classifier on a backbone, which stays as it is.
pub fn fit(
    backbone: &Backbone,
    train: &Dataset,
    eval: Option<&Dataset>,
    options: &FitOptions,
    monitor: &mut dyn Monitor,
) -> Result<Outcome> {
    options.check()?;
    let strategy = Strategy::parse(options.strategy.clone())?;
    let objective = Classification {
        n_outputs: options.n_outputs,
        class_weight: options.class_weight.clone(),
        label_smoothing: strategy.label_smoothing,
    };
    if train.encodings.is_empty() {
        return Err(Error::Value("no texts to train on".into()));
    }
    objective.check(&train.labels, train.encodings.len(), "training set")?;
    if let Some(eval) = eval {
        if eval.encodings.is_empty() {
            return Err(Error::Value("eval_set: no texts".into()));
        }
        objective.check(&eval.labels, eval.encodings.len(), "eval_set")?;
        if objective.normalizer(&eval.labels, &(0..eval.encodings.len()).collect::<Vec<_>>()) <= 0.0 {
            return Err(Error::Value("eval_set: class_weight is 0 for every text in it".into()));
        }
    }

    let mut params = backbone.params.clone();
    for spec in ClassificationHead::specs(&backbone.config, options.n_outputs) {
        params.insert(&spec.name, initialise(&spec, Key::new(options.seed, Stream::Init))?);
    }
    let plan = Plan::compile(&strategy, backbone, options.n_outputs);
    let batches = Batches::of(&train.encodings.lengths(), options, &mut || monitor.on_wait())?;
    let facts = Facts {
        total_steps: batches.total_steps,
        total_tokens: batches.total_tokens,
        steps_per_epoch: batches.steps_per_epoch,
        batch_tokens: options.batch_tokens,
        trainable_parameters: plan.trainable_count(),
        parameters: params.count(),
    };
    monitor.on_start(&facts)?;

    let started = Instant::now();
    let inputs = |encodings, monitor: &mut dyn Monitor| {
        if !plan.encoder_is_frozen() {
            return Ok(Inputs::Tokens(encodings));
        }
        Inputs::precompute(encodings, &params, &backbone.config, options.batch_tokens, &mut |_| monitor.on_wait())
    };
    let train_inputs = inputs(train.encodings, monitor)?;
    let eval = eval.map(|eval| Ok::<_, Error>((inputs(eval.encodings, monitor)?, &eval.labels))).transpose()?;
    let mut run = Run::new(&params, &plan, &strategy, &objective, backbone, options, batches.total_steps, started)?;
    let stopped = run.train(&train_inputs, &train.labels, eval.as_ref(), &batches, monitor).err();
    let (params, summary) = run.finish(stopped.as_ref());
    let model = params.map(|params| SequenceClassifier::new(backbone, &params));
    Ok(Outcome { model, summary, facts, stopped })
}

/// The batches of every epoch follow from the seed, so the length of a run is known before it starts.
pub(super) struct Batches {
    lengths: Vec<usize>,
    budget: usize,
    key: Key,
    accumulation: usize,
    pub total_steps: usize,
    pub total_tokens: usize,
    pub steps_per_epoch: usize,
}

impl Batches {
    fn of(lengths: &[usize], options: &FitOptions, wait: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let key = Key::new(options.seed, Stream::Shuffle);
        let mut all = Self {
            lengths: lengths.to_vec(),
            budget: options.batch_tokens,
            key,
            accumulation: options.accumulation_steps,
            total_steps: 0,
            total_tokens: 0,
            steps_per_epoch: 0,
        };
        all.steps_per_epoch = all.steps(0).len();
        let mut epoch = 0;
        while options.max_steps.map_or(epoch < options.epochs, |max| all.total_steps < max) {
            for step in all.steps(epoch) {
                if options.max_steps == Some(all.total_steps) {
                    break;
                }
                all.total_steps += 1;
                all.total_tokens += step.iter().flatten().map(|&text| lengths[text]).sum::<usize>();
            }
            epoch += 1;
            wait()?;
        }
        Ok(all)
    }

    /// The optimiser steps of an epoch, each the batches it accumulates; the last may have fewer.
    pub fn steps(&self, epoch: usize) -> Vec<Vec<Vec<usize>>> {
        let batches = shuffled(&self.lengths, self.budget, self.key.child(epoch as u64));
        batches.chunks(self.accumulation).map(<[_]>::to_vec).collect()
    }

    /// Tokens of these texts.
    pub fn tokens(&self, texts: &[usize]) -> usize {
        texts.iter().map(|&text| self.lengths[text]).sum()
    }
}
