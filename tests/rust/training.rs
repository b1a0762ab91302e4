//! The training loop: what it keeps when it ends, is stopped, or goes wrong; what it freezes.

use std::path::Path;

use warmstart::array::Array;
use warmstart::backbone::{Backbone, Config, Level};
use warmstart::error::{Error, Result};
use warmstart::head::{Classification, Start, Task, TaskModel, Truth};
use warmstart::matmul::Precision;
use warmstart::optim::{OptimizerOptions, ScheduleKind};
use warmstart::report::{Facts, Record, Row};
use warmstart::text::Encodings;
use warmstart::train::{Dataset, Keep, Method, Monitor, Outcome, Plan, TaskOptions, TrainingOptions, fit};

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

pub const OUTPUTS: usize = 3;

fn backbone() -> Result<Backbone> {
    Backbone::from_pretrained(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/bert_b_legacy"))
}

/// Texts of unlike lengths whose class is told by one token.
pub fn texts(n: usize) -> (Encodings, Truth) {
    let text = |i: usize| {
        let ids: Vec<u32> =
            std::iter::once(2).chain((0..=(i % 7)).map(|j| (20 + (i % OUTPUTS) * 8 + j % 3) as u32)).collect();
        let segments = vec![0; ids.len()];
        (ids, segments)
    };
    let labels = Truth::Classes((0..n).map(|i| (i % OUTPUTS) as u32).collect());
    (Encodings::from_ids(&(0..n).map(text).collect::<Vec<_>>()), labels)
}

pub const FULL: Method = Method::FullFineTuning { layer_decay: 0.5, head_factor: 1.0, embeddings_factor: 1.0 };
const PROBING: Method = Method::LinearProbing {};

pub fn terms(method: Method, learning_rate: f64) -> TrainingOptions {
    TrainingOptions {
        strategy: method.into(),
        optimizer: OptimizerOptions {
            learning_rate,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            schedule: ScheduleKind::Constant,
            warmup_ratio: 0.0,
            max_grad_norm: Some(1.0),
        },
        epochs: 4,
        max_steps: None,
        batch_tokens: 40,
        accumulation_steps: 1,
        eval_every: None,
        patience: None,
        keep: Keep::Best,
        seed: 3,
        precision: Precision::F32,
        recompute: false,
        checkpoint_dir: None,
        checkpoint_every: None,
    }
}

fn task() -> Task {
    Task::only(Classification::new(Level::Texts, OUTPUTS, false))
}

/// Those of a classifier.
fn of_texts(training: TrainingOptions) -> TaskOptions {
    TaskOptions { task: task(), training }
}

/// Scores as told, one an evaluation; stops after a number of steps if told.
#[derive(Default)]
struct Script {
    scores: Vec<f64>,
    stop_at: Option<usize>,
    facts: Facts,
    steps: Vec<Record>,
    evaluations: Vec<(Vec<f32>, Record, f64)>,
    epochs: Vec<Record>,
}

impl Monitor for Script {
    fn metric(&self) -> Result<String> {
        Ok("score".into())
    }
    fn on_start(&mut self, facts: &Facts) -> Result<()> {
        self.facts = facts.clone();
        Ok(())
    }
    fn on_step(&mut self, record: &Record) -> Result<()> {
        self.steps.push(record.clone());
        if self.stop_at == Some(record.step) { Err(Error::Stopped("enough".into())) } else { Ok(()) }
    }
    fn on_wait(&mut self) -> Result<()> {
        Ok(())
    }
    fn on_evaluate(&mut self, logits: &[f32], record: &Record, eval_loss: f64) -> Result<f64> {
        self.evaluations.push((logits.to_vec(), record.clone(), eval_loss));
        Ok(self.scores.get(self.evaluations.len() - 1).copied().unwrap_or(0.0))
    }
    fn on_epoch(&mut self, record: &Record) -> Result<()> {
        self.epochs.push(record.clone());
        Ok(())
    }
}

fn train(options: &TrainingOptions, script: &mut Script, evaluate: bool) -> Result<Outcome<TaskModel>> {
    let (encodings, labels) = texts(33);
    let dataset = Dataset { encodings: &encodings, truth: labels, sample_weight: None };
    let options = of_texts(options.clone());
    fit(&backbone()?, &dataset, evaluate.then_some(&dataset), &options, Start::New, script)
}

fn logits(model: &TaskModel) -> Result<Vec<f32>> {
    model.outputs(&texts(33).0, 1000, Precision::F32, &mut |_| Ok(()))
}

#[test]
fn fit_when_left_alone_learns_and_counts_its_steps() -> Checked {
    let mut script = Script::default();
    let outcome = train(&TrainingOptions { epochs: 30, ..terms(FULL, 1e-2) }, &mut script, false)?;
    assert!(outcome.stopped.is_none());
    assert_eq!(script.steps.len(), script.facts.total_steps);
    assert_eq!((script.epochs.len(), outcome.summary.last.epoch), (30, 30.0));
    let all_tokens = texts(33).0.n_tokens() * 30;
    assert_eq!((script.facts.total_tokens, outcome.summary.last.tokens), (all_tokens, all_tokens));
    assert!(script.epochs[29].loss < 0.05, "loss {}", script.epochs[29].loss);
    Ok(())
}

#[test]
fn fit_when_evaluated_keeps_the_best_weights() -> Checked {
    let mut script = Script { scores: vec![0.1, 0.9, 0.2, 0.8], ..Script::default() };
    let outcome = train(&terms(FULL, 1e-2), &mut script, true)?;
    assert_eq!((script.evaluations.len(), outcome.summary.best_score), (4, Some(0.9)));
    assert_eq!(outcome.summary.best_step, Some(script.evaluations[1].1.step));
    let kept = logits(&outcome.model.ok_or("no model")?)?;
    let difference = |other: &[f32]| kept.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference(&script.evaluations[1].0) < 1e-5 && difference(&script.evaluations[3].0) > 1e-2);
    assert!(script.epochs.is_empty());
    Ok(())
}

#[test]
fn fit_when_scores_are_equal_keeps_the_smaller_loss() -> Checked {
    let mut script = Script { scores: vec![0.5; 4], ..Script::default() };
    let outcome = train(&terms(FULL, 1e-2), &mut script, true)?;
    let best = script.evaluations.iter().min_by(|a, b| a.2.total_cmp(&b.2)).ok_or("no evaluation")?;
    assert_eq!(outcome.summary.best_step, Some(best.1.step));
    assert_ne!(outcome.summary.best_step, Some(script.evaluations[0].1.step));
    Ok(())
}

#[test]
fn fit_when_scores_stop_rising_stops_early() -> Checked {
    let mut script = Script { scores: vec![0.5, 0.4, 0.3, 0.9], ..Script::default() };
    let options = TrainingOptions { patience: Some(2), eval_every: Some(2), ..terms(FULL, 1e-3) };
    let outcome = train(&options, &mut script, true)?;
    assert!(outcome.summary.stopped_early);
    assert_eq!((script.evaluations.len(), outcome.summary.last.step, outcome.summary.best_step), (3, 6, Some(2)));
    Ok(())
}

#[test]
fn fit_when_asked_to_keep_the_last_weights_does() -> Checked {
    let mut script = Script { scores: vec![0.1, 0.9, 0.2, 0.8], ..Script::default() };
    let options = TrainingOptions { keep: Keep::Last, ..terms(FULL, 1e-2) };
    let outcome = train(&options, &mut script, true)?;
    assert_eq!(outcome.summary.best_step, Some(script.evaluations[1].1.step));
    let kept = logits(&outcome.model.ok_or("no model")?)?;
    assert!(kept.iter().zip(&script.evaluations[3].0).all(|(a, b)| (a - b).abs() < 1e-5));
    Ok(())
}

#[test]
fn fit_when_it_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped() -> Checked {
    let directory = tempfile::tempdir()?;
    let scores = vec![0.1, 0.9, 0.2, 0.8];
    for (keep, stop_at) in [(Keep::Best, 5), (Keep::Best, 8), (Keep::Last, 8)] {
        let whole = TrainingOptions { keep, accumulation_steps: 2, ..terms(FULL, 1e-2) };
        let mut script = Script { scores: scores.clone(), ..Script::default() };
        let expected = train(&whole, &mut script, true)?;
        let checkpoint_dir = Some(directory.path().join(format!("{keep:?}{stop_at}")));
        let options = TrainingOptions { checkpoint_dir, checkpoint_every: Some(1), ..whole };
        let mut before = Script { scores: scores.clone(), stop_at: Some(stop_at), ..Script::default() };
        assert!(train(&options, &mut before, true)?.stopped.is_some());
        let n = before.evaluations.len();
        assert!(n > 0 && n < 4, "the case needs evaluations before and after: {n}");
        let mut after = Script { scores: scores[n..].to_vec(), ..Script::default() };
        let found = train(&options, &mut after, true)?;
        let steps = (before.steps.len() - 1) + after.steps.len();
        assert_eq!((steps, after.facts.tokens_done > 0), (script.steps.len(), true));
        let rows = |outcome: &Outcome<TaskModel>| {
            let row = |row: &Row| (row.record.step, row.record.loss.to_bits(), row.evaluation.clone());
            outcome.summary.rows.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(rows(&found), rows(&expected));
        assert_eq!(found.summary.curve, expected.summary.curve);
        let weights = |outcome: Outcome<TaskModel>| -> Result<Vec<u32>> {
            let model = outcome.model.ok_or_else(|| Error::Value("no model".into()))?;
            Ok(logits(&model)?.into_iter().map(f32::to_bits).collect())
        };
        assert!(weights(found)? == weights(expected)?, "{keep:?} {stop_at}");
        let again = train(&options, &mut Script::default(), true)?;
        assert!(again.was_finished && again.stopped.is_none());
        let other = TrainingOptions { batch_tokens: 41, ..options };
        let error = train(&other, &mut Script::default(), true).err().ok_or("another run went on")?;
        assert!(error.to_string().contains("batch_tokens 40, now 41"), "{error}");
    }
    Ok(())
}

#[test]
fn fit_when_texts_are_weighted_counts_them_so() -> Checked {
    let (encodings, labels) = texts(12);
    // The labels of a third of the texts are wrong, and these texts count nothing.
    let Truth::Classes(mut classes) = labels else { return Err("other labels".into()) };
    let wrong = |i: &usize| i % 3 == 1;
    (0..12).filter(wrong).for_each(|i| classes[i] = (classes[i] + 1) % OUTPUTS as u32);
    let run = |weights: Option<Vec<f32>>, keep: &dyn Fn(&usize) -> bool| -> Result<_> {
        let kept: Vec<usize> = (0..12).filter(|i| keep(i)).collect();
        let texts: Vec<_> = kept.iter().map(|&i| (encodings.ids(i).to_vec(), encodings.segments(i).to_vec())).collect();
        let labels = Truth::Classes(kept.iter().map(|&i| classes[i]).collect());
        let encodings = Encodings::from_ids(&texts);
        let dataset = Dataset { encodings: &encodings, truth: labels, sample_weight: weights };
        // One batch an epoch, so that the order of texts does not matter.
        let options = of_texts(TrainingOptions { batch_tokens: 10_000, ..terms(FULL, 1e-2) });
        let mut script = Script::default();
        let model = fit(&backbone()?, &dataset, None, &options, Start::New, &mut script)?.model;
        Ok((script.steps.last().map(|r| r.loss), logits(&model.ok_or_else(|| Error::Value("no model".into()))?)?))
    };
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    let without = run(None, &|i| !wrong(i))?;
    let weights = (0..12).map(|i| if wrong(&i) { 0.0 } else { 2.0 }).collect();
    let weighted = run(Some(weights), &|_| true)?;
    assert!((weighted.0.unwrap_or(9.0) - without.0.unwrap_or(0.0)).abs() < 1e-5);
    assert!(close(&weighted.1, &without.1) && !close(&run(None, &|_| true)?.1, &without.1));
    assert!(run(Some(vec![1.0; 11]), &|_| true).is_err() && run(Some(vec![-1.0; 12]), &|_| true).is_err());
    Ok(())
}

#[test]
fn fit_when_stopped_hands_back_what_it_has() -> Checked {
    let mut script = Script { stop_at: Some(3), ..Script::default() };
    let outcome = train(&terms(FULL, 1e-3), &mut script, false)?;
    assert!(matches!(outcome.stopped, Some(Error::Stopped(_))));
    assert_eq!(outcome.summary.last.step, 3);
    let mut same = Script::default();
    let expected = train(&TrainingOptions { max_steps: Some(3), ..terms(FULL, 1e-3) }, &mut same, false)?;
    assert_eq!(logits(&outcome.model.ok_or("no model")?)?, logits(&expected.model.ok_or("no model")?)?);
    Ok(())
}

#[test]
fn fit_when_the_loss_is_not_finite_names_the_step_and_keeps_the_last_good_weights() -> Checked {
    // So large a rate that the first step's weights overflow in the second forward pass.
    let mut script = Script::default();
    let outcome = train(&terms(FULL, 1e30), &mut script, false)?;
    let message = outcome
        .stopped
        .map(|e| matches!(e, Error::Training(_)).then(|| e.to_string()))
        .ok_or("went on")?
        .ok_or("other error")?;
    assert!(message.contains("step 2, batch 0") && message.contains("texts "), "{message}");
    assert!(outcome.model.is_none(), "no epoch had ended: there is nothing good to keep");
    // The update that overflows may be the last one, or the last of an epoch: its weights are never kept.
    let one_step = TrainingOptions { max_steps: Some(1), ..terms(FULL, 1e30) };
    let one_an_epoch = TrainingOptions { batch_tokens: 10_000, ..terms(FULL, 1e30) };
    for (options, evaluate) in [(&one_step, false), (&one_step, true), (&one_an_epoch, false), (&one_an_epoch, true)] {
        let outcome = train(options, &mut Script::default(), evaluate)?;
        assert!(matches!(outcome.stopped, Some(Error::Training(_))), "went on: {options:?}");
        assert!(outcome.model.is_none(), "{options:?}");
    }
    Ok(())
}

#[test]
fn fit_when_it_goes_wrong_after_a_good_evaluation_keeps_that_one() -> Checked {
    // The warm-up's first rate is 0, so the first evaluation is of good weights.
    let mut script = Script { scores: vec![0.5], ..Script::default() };
    let mut options = TrainingOptions { eval_every: Some(1), ..terms(FULL, 1e30) };
    options.optimizer.warmup_ratio = 0.5;
    let outcome = train(&options, &mut script, true)?;
    assert!(matches!(outcome.stopped, Some(Error::Training(_))));
    assert_eq!(outcome.summary.best_step, Some(1));
    assert!(logits(&outcome.model.ok_or("no model")?)?.iter().all(|z| z.is_finite()));
    Ok(())
}

fn set_dropout(config: &mut Config, p: f64) {
    (config.embedding.dropout, config.attention.dropout) = (p, p);
    (config.attention.output_dropout, config.feed_forward.dropout) = (p, p);
}

#[test]
fn fit_when_dropout_is_on_gives_the_same_bytes_for_the_same_seed() -> Checked {
    let mut backbone = backbone()?;
    let mut config = (*backbone.config).clone();
    set_dropout(&mut config, 0.2);
    let (encodings, labels) = texts(33);
    let dataset = Dataset { encodings: &encodings, truth: labels, sample_weight: None };
    let mut run = |config: Config, seed: u64| -> Result<Vec<u32>> {
        backbone.config = config.into();
        let outcome = fit(
            &backbone,
            &dataset,
            None,
            &of_texts(TrainingOptions { seed, ..terms(FULL, 1e-2) }),
            Start::New,
            &mut Script::default(),
        )?;
        let model = outcome.model.ok_or_else(|| Error::Value("no model".into()))?;
        Ok(logits(&model)?.into_iter().map(f32::to_bits).collect())
    };
    let first = run(config.clone(), 3)?;
    assert_eq!(first, run(config.clone(), 3)?);
    assert_ne!(first, run(config.clone(), 4)?);
    set_dropout(&mut config, 0.0);
    assert_ne!(first, run(config, 3)?, "dropout made no difference");
    Ok(())
}

#[test]
fn fit_when_layers_are_computed_again_gives_the_same_bytes() -> Checked {
    let mut backbone = backbone()?;
    let mut config = (*backbone.config).clone();
    set_dropout(&mut config, 0.2);
    backbone.config = config.into();
    let (encodings, labels) = texts(33);
    let dataset = Dataset { encodings: &encodings, truth: labels, sample_weight: None };
    let run = |recompute: bool| -> Result<_> {
        let mut script = Script::default();
        let options = TrainingOptions { recompute, accumulation_steps: 2, ..terms(FULL, 1e-2) };
        let outcome = fit(&backbone, &dataset, None, &of_texts(options), Start::New, &mut script)?;
        let steps: Vec<_> = script.steps.iter().map(|r| (r.loss.to_bits(), r.grad_norm.to_bits())).collect();
        let model = outcome.model.ok_or_else(|| Error::Value("no model".into()))?;
        let mut weights = Vec::new();
        for (_, tensor) in model.params().iter() {
            weights.extend(tensor.values()?.iter().map(|x| x.to_bits()));
        }
        Ok((steps, weights))
    };
    assert!(run(false)? == run(true)?);
    Ok(())
}

#[test]
fn linear_probing_when_fitted_leaves_every_byte_of_the_backbone() -> Checked {
    let mut script = Script::default();
    let before = backbone()?;
    let outcome = train(&terms(PROBING, 1e-2), &mut script, false)?;
    let model = outcome.model.ok_or("no model")?;
    // The legacy checkpoint has a pooler, so the classifier alone is the head.
    assert_eq!(outcome.facts.trainable_parameters, OUTPUTS * 20 + OUTPUTS);
    for (name, tensor) in before.params.iter() {
        let bits = |a: &Array| Ok::<_, Error>(a.values()?.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        assert_eq!(bits(tensor)?, bits(model.backbone.params.get(name)?)?, "{name}");
    }
    assert!(script.epochs[3].loss < script.epochs[0].loss);
    Ok(())
}

#[test]
fn plan_when_compiled_decays_the_rate_by_layer_and_spares_biases_and_norms() -> Checked {
    let (backbone, terms) = (backbone()?, terms(FULL, 1.0));
    let plan = Plan::of_task((&terms.strategy, &terms.optimizer), &backbone, &task())?;
    let of = |name: &str| plan.rows.iter().find(|p| p.name == name).map(|p| (p.learning_rate, p.weight_decay));
    assert_eq!(of("classifier.weight"), Some((1.0, 0.01)));
    assert_eq!(of("encoder.layer.1.output.dense.weight"), Some((1.0, 0.01)));
    assert_eq!(of("encoder.layer.0.output.dense.bias"), Some((0.5, 0.0)));
    assert_eq!(of("embeddings.LayerNorm.weight"), Some((0.25, 0.0)));
    assert_eq!(of("embeddings.word_embeddings.weight"), Some((0.25, 0.01)));
    Ok(())
}

#[test]
fn options_when_out_of_range_are_refused_by_name() {
    let refused = |name: &str, change: &dyn Fn(&mut TrainingOptions)| {
        let mut options = terms(FULL, 1e-3);
        change(&mut options);
        let message = train(&options, &mut Script::default(), false).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(&format!("{name}=")), "{name}: {message}");
    };
    refused("learning_rate", &|o| o.optimizer.learning_rate = 0.0);
    refused("warmup_ratio", &|o| o.optimizer.warmup_ratio = 1.5);
    refused("max_grad_norm", &|o| o.optimizer.max_grad_norm = Some(0.0));
    let decayed = Method::FullFineTuning { layer_decay: 1.5, head_factor: 1.0, embeddings_factor: 1.0 };
    refused("layer_decay", &|o| o.strategy = decayed.clone().into());
    refused("epochs", &|o| o.epochs = 0);
    refused("checkpoint_every", &|o| o.checkpoint_every = Some(0));
    refused("precision", &|o| o.precision = Precision::Int8);
}

#[test]
fn accumulation_when_batches_do_not_divide_counts_the_last_group() -> Checked {
    let mut single = Script::default();
    train(&TrainingOptions { epochs: 1, ..terms(FULL, 1e-3) }, &mut single, false)?;
    let mut grouped = Script::default();
    train(&TrainingOptions { epochs: 1, accumulation_steps: 2, ..terms(FULL, 1e-3) }, &mut grouped, false)?;
    assert_eq!(single.steps.len() % 2, 1, "the case needs an odd number of batches");
    assert_eq!(grouped.steps.len(), single.steps.len().div_ceil(2));
    assert_eq!(grouped.facts.total_tokens, single.facts.total_tokens);
    Ok(())
}
