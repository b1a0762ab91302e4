//! Fit a classifier: put plan, network, data and options together, run, and hand back the best weights.

use std::time::Instant;

use super::batches::Batches;
use super::monitor::Monitor;
use super::network::Inputs;
use super::options::FitOptions;
use super::plan::Plan;
use super::run::Run;
use super::strategy::Strategy;
use crate::backbone::{Backbone, Task};
use crate::error::{Error, Result};
use crate::head::{Classifier, LinearMap};
use crate::objective::{Classification, Labels};
use crate::report::{Facts, Summary};
use crate::text::Encodings;

/// Texts with the labels of what is classified in them.
pub struct Dataset<'a> {
    pub encodings: &'a Encodings,
    pub labels: Labels,
}

/// What came of a run.
pub struct Outcome {
    /// None if the run was stopped before anything good was learnt.
    pub model: Option<Classifier>,
    pub summary: Summary,
    pub facts: Facts,
    /// What stopped the run, if it did not end by itself.
    pub stopped: Option<Error>,
}

/// Train a classifier on a backbone, which stays as it is. Its last map begins at `start`, or as it is initialised.
pub fn fit(
    backbone: &Backbone,
    train: &Dataset,
    eval: Option<&Dataset>,
    options: &FitOptions,
    start: Option<&LinearMap>,
    monitor: &mut dyn Monitor,
) -> Result<Outcome> {
    options.check()?;
    let strategy = Strategy::parse(options.strategy.clone())?;
    let objective = Classification {
        n_outputs: options.n_outputs,
        class_weight: options.class_weight.clone(),
        label_smoothing: strategy.label_smoothing,
    };
    let words = options.task == Task::Words;
    if train.encodings.has_words() != words || eval.is_some_and(|eval| eval.encodings.has_words() != words) {
        return Err(Error::internal("words are known of some texts and asked of others"));
    }
    if train.encodings.n_items() == 0 {
        return Err(Error::Value("no texts to train on".into()));
    }
    objective.check(&train.labels, train.encodings.n_items(), "training set")?;
    if let Some(eval) = eval {
        if eval.encodings.n_items() == 0 {
            return Err(Error::Value("eval_set: no texts".into()));
        }
        objective.check(&eval.labels, eval.encodings.n_items(), "eval_set")?;
        if objective.normalizer(&eval.labels, &(0..eval.encodings.n_items()).collect::<Vec<_>>()) <= 0.0 {
            return Err(Error::Value("eval_set: class_weight is 0 for every text in it".into()));
        }
    }

    let params = Classifier::initial(backbone, options.task, options.n_outputs, start, options.seed)?;
    let plan = Plan::compile(&strategy, backbone, options.task, options.n_outputs);
    let batches = Batches::of(&train.encodings.lengths(), options, &mut || monitor.on_wait())?;
    let facts = Facts {
        total_steps: batches.total_steps,
        total_tokens: batches.total_tokens,
        tokens_done: 0,
        steps_per_epoch: batches.steps_per_epoch,
        batch_tokens: options.batch_tokens,
        trainable_parameters: plan.trainable_count(),
        parameters: params.count(),
    };
    monitor.on_start(&facts)?;
    backbone.forget_encoder();

    let started = Instant::now();
    let inputs = |encodings, monitor: &mut dyn Monitor| {
        if !plan.encoder_is_frozen(&backbone.config) {
            return Ok(Inputs::Tokens(encodings));
        }
        Inputs::precompute(encodings, &params, &backbone.config, options, &mut |_| monitor.on_wait())
    };
    let train_inputs = inputs(train.encodings, monitor)?;
    let eval = eval.map(|eval| Ok::<_, Error>((inputs(eval.encodings, monitor)?, &eval.labels))).transpose()?;
    let mut run = Run::new(&params, &plan, &strategy, &objective, backbone, options, batches.total_steps, started)?;
    let stopped = run.train(&train_inputs, &train.labels, eval.as_ref(), &batches, monitor).err();
    let (params, summary) = run.finish(stopped.as_ref());
    let model = params.map(|params| Classifier::new(backbone, &params, options.task));
    Ok(Outcome { model, summary, facts, stopped })
}
