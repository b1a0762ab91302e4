//! Pretrain a language model on a corpus: the loop, its evaluations, checkpoints to go on from.

use std::time::Instant;

use super::checkpoint::{self, Progress};
use super::learner::{Learner, Task};
use super::monitor::Monitor;
use super::optimisation::{Optimisation, Snapshot, not_finite};
use super::plan::Plan;
use super::pretraining_data::Data;
use super::pretraining_options::PretrainOptions;
use super::pretraining_setup::{Documents, Setup};
use crate::backbone::{Memory, Mode, Parameters};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::objective::Collator;
use crate::report::{Evaluation, Facts, Record, Row, Summary};
use crate::rng::{Key, Stream};

/// What came of a run.
pub struct Pretrained<M> {
    /// None if the run was stopped before anything good was learnt.
    pub model: Option<M>,
    pub summary: Summary,
    pub facts: Facts,
    /// True if a checkpoint held the whole run already, and nothing was left to train.
    pub was_finished: bool,
    /// What stopped the run, if it did not end by itself.
    pub stopped: Option<Error>,
}

/// Train a model, which stays as it is, on `documents` of a corpus; evaluate on others.
pub fn pretrain<M: Learner>(
    model: &M,
    documents: Documents,
    eval: Option<Documents>,
    options: &PretrainOptions,
    monitor: &mut dyn Monitor,
) -> Result<Pretrained<M>> {
    let held_out = eval.clone();
    let Setup { strategy, collator, train, eval } = Setup::new(model.backbone(), documents.clone(), eval, options)?;
    let params = model.params();
    let plan = Plan::of_learner(&strategy, model, &options.objective);

    if let Some(eval) = &eval
        && !in_pool(|| eval.asks_when_evaluated(&collator))?
    {
        return Err(nothing_asked("the texts to evaluate on"));
    }
    let (mut total_steps, mut total_tokens, mut epochs) = (0, 0, Vec::new());
    while options.max_steps.map_or(epochs.len() < options.epochs, |max| total_steps < max) {
        let mut steps = 0;
        for step in train.steps(epochs.len(), options) {
            steps += 1;
            if options.max_steps != Some(total_steps) {
                total_steps += 1;
                total_tokens += step.iter().map(|blocks| train.tokens(blocks)).sum::<usize>();
            }
        }
        epochs.push(steps);
        monitor.on_wait()?;
    }
    let mut facts = Facts {
        total_steps,
        total_tokens,
        tokens_done: 0,
        steps_per_epoch: epochs[0],
        batch_tokens: options.batch_tokens,
        trainable_parameters: plan.trainable_count(),
        parameters: params.count(),
    };
    let (mut optimisation, learning) = Optimisation::begin(&params, &plan, &strategy, total_steps)?;
    let (mut progress, mut memory) = (Progress::default(), None);
    let identity = match options.checkpoint_dir {
        Some(_) => checkpoint::identity(model, &documents, options)?,
        None => serde_json::Value::Null,
    };
    if let Some(directory) = &options.checkpoint_dir
        && let Some(found) = checkpoint::read(directory, &identity, &mut optimisation)?
    {
        (progress, memory) = found;
        facts.tokens_done = progress.tokens;
    }
    if let Some((directory, held_out)) = options.checkpoint_dir.as_ref().zip(held_out.as_ref()) {
        progress.evaluate_on(directory, held_out)?;
    }
    monitor.on_start(&facts)?;
    model.forget_networks();
    let network = model.network(&learning, options.precision)?;
    let before_s = progress.last.elapsed_s;
    let mut run = Run {
        params: &params,
        model,
        collator,
        data: &train,
        epochs: &epochs,
        eval,
        options,
        network,
        optimisation,
        progress,
        memory,
        identity,
        started: Instant::now(),
        before_s,
        paused_s: 0.0,
        kept: None,
        stopped_early: false,
        was_finished: false,
    };
    let trained = run.train(monitor).and_then(|()| match run.optimisation.optimiser.steps() {
        0 => Err(nothing_asked("the corpus")),
        _ => Ok(()),
    });
    let (stopped, was_finished) = (trained.err(), run.was_finished);
    let (params, summary) = run.finish(stopped.as_ref());
    Ok(Pretrained { model: params.map(|params| model.with_params(&params)), summary, facts, was_finished, stopped })
}

fn nothing_asked(of: &str) -> Error {
    Error::Data(format!("no token of {of} can be asked for: its sequences are too short for the objective"))
}

struct Run<'a, M: Learner> {
    params: &'a Parameters,
    model: &'a M,
    collator: Collator,
    data: &'a Data,
    /// Optimiser steps of each epoch.
    epochs: &'a [usize],
    eval: Option<Data>,
    options: &'a PretrainOptions,
    network: M::Network,
    optimisation: Optimisation<'a>,
    progress: Progress,
    /// What the next batch remembers of the one before.
    memory: Option<Memory>,
    identity: serde_json::Value,
    started: Instant,
    /// Seconds of training before this run went on, and those of this run that were no training.
    before_s: f64,
    paused_s: f64,
    /// The weights of the last evaluation, in case the next steps go wrong.
    kept: Option<Snapshot>,
    stopped_early: bool,
    was_finished: bool,
}

impl<M: Learner> Run<'_, M> {
    fn train(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        let total = self.optimisation.schedule.total_steps;
        let (data, epochs, mut first_of_epoch) = (self.data, self.epochs, 0);
        let (is_complete, is_stopped) = (self.progress.step == total, self.is_out_of_patience());
        if is_complete || is_stopped {
            (self.was_finished, self.stopped_early) = (true, !is_complete);
            return Ok(());
        }
        for (epoch, &n_steps) in epochs.iter().enumerate() {
            let steps = data.steps(epoch, self.options);
            for (i, groups) in steps.enumerate().skip(self.progress.step.saturating_sub(first_of_epoch)) {
                if self.progress.step == total {
                    return Ok(());
                }
                let mut record = self.step(&groups)?;
                record.epoch = epoch as f64 + (i + 1) as f64 / n_steps as f64;
                record.elapsed_s = self.before_s + self.started.elapsed().as_secs_f64() - self.paused_s;
                self.progress.last = record.clone();
                self.progress.curve.add(&record);
                monitor.on_step(&record)?;
                let (step, last, end_of_epoch) = (record.step, record.step == total, i + 1 == n_steps);
                let due = self.options.eval_every.map_or(end_of_epoch, |n| step.is_multiple_of(n)) || last;
                if due {
                    let began = Instant::now();
                    self.evaluate(monitor)?;
                    self.paused_s += began.elapsed().as_secs_f64();
                }
                let stop = due && self.is_out_of_patience();
                if self.options.checkpoint_every.is_some_and(|n| step.is_multiple_of(n)) || last || stop {
                    self.checkpoint()?;
                }
                if stop {
                    self.stopped_early = !last;
                    return Ok(());
                }
            }
            first_of_epoch += n_steps;
        }
        Ok(())
    }

    fn is_out_of_patience(&self) -> bool {
        self.options.patience.is_some_and(|patience| self.progress.since_best() >= patience)
    }

    /// One optimiser step over the batches of a group.
    fn step(&mut self, groups: &[Vec<usize>]) -> Result<Record> {
        let (step, options, collator, data, network) =
            (self.progress.step, self.options, &self.collator, self.data, &self.network);
        let mut memory = self.memory.take();
        let dropout = Key::new(options.seed, Stream::Dropout).child(step as u64);
        let batches = in_pool(|| data.batches_of_step(collator, groups, options.seed, step))?;
        let asked: usize = batches.iter().map(|batch| batch.labels.iter().flatten().count()).sum();
        let tokens = self.progress.tokens + groups.iter().map(|blocks| data.tokens(blocks)).sum::<usize>();
        self.progress.step += 1;
        self.progress.tokens = tokens;
        let drawing = Key::new(options.seed, Stream::Sampling).child(step as u64);
        let in_step = batches.iter().map(|batch| batch.packed.n_tokens()).sum::<usize>();
        let mut batches = batches.into_iter();
        let mut pass = |i: usize| {
            let mut batch = batches.next().ok_or_else(|| Error::internal("a batch is asked for twice"))?;
            batch.context.memory = memory.take().map(|memory| memory.among(groups[i].len()));
            let mode = Mode::training(dropout.child(i as u64)).recomputing(options.recompute);
            let share = batch.packed.n_tokens() as f64 / in_step as f64;
            let task = Task { objective: &options.objective, mode, draw: drawing.child(i as u64), share };
            let (losses, remembered) = M::losses(network, batch, asked.max(1) as f64, task)?;
            memory = remembered;
            Ok(losses)
        };
        if asked == 0 {
            // Sequences too short to ask anything of them: there is nothing to learn, but they may be remembered.
            in_pool(|| (0..groups.len()).try_for_each(|i| pass(i).map(drop)))?;
            self.memory = memory;
            return Ok(Record { step: step + 1, tokens, ..self.progress.last.clone() });
        }
        let stepped = self.optimisation.step(step, groups, pass)?;
        self.memory = memory;
        self.progress.loss_sum += stepped.loss;
        self.progress.losses += 1;
        Ok(Record {
            step: step + 1,
            loss: stepped.loss,
            learning_rate: stepped.learning_rate,
            grad_norm: stepped.grad_norm,
            tokens,
            ..Record::default()
        })
    }

    /// Evaluate; without anything to evaluate on, see that the weights are good.
    fn evaluate(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        self.optimisation.check_weights(self.progress.step)?;
        let loss = self.progress.loss_sum / self.progress.losses.max(1) as f64;
        let record = Record { loss, ..self.progress.last.clone() };
        (self.progress.loss_sum, self.progress.losses) = (0.0, 0);
        let Some(eval) = &self.eval else {
            monitor.on_epoch(&record)?;
            self.progress.rows.push(Row { record, evaluation: None });
            return self.keep();
        };
        let current = self.optimisation.current(self.params);
        let network = self.model.network(&current, self.options.precision)?;
        let (mut sum, mut asked) = (0.0, 0usize);
        for blocks in eval.by_length(self.options.batch_tokens) {
            let draw = Key::new(0, Stream::Sampling).child(blocks[0] as u64);
            let task = Task { objective: &self.options.objective, mode: Mode::inference(), draw, share: 1.0 };
            let batch = eval.batch_to_evaluate(&self.collator, &blocks)?;
            asked += batch.labels.iter().flatten().count();
            sum += in_pool(|| M::evaluate(&network, batch, task))?;
            monitor.on_wait()?;
        }
        let loss = sum / asked.max(1) as f64;
        if !loss.is_finite() {
            return Err(not_finite("evaluation loss", loss, self.progress.step, 0, &[]));
        }
        let score = monitor.on_evaluate(&[], &record, loss)?;
        self.progress.rows.push(Row { record, evaluation: Some(Evaluation { loss, score }) });
        self.keep()
    }

    /// Keep the present weights. Those kept before go first: two copies would be the peak of a run's memory.
    fn keep(&mut self) -> Result<()> {
        self.kept = None;
        if self.progress.step < self.optimisation.schedule.total_steps {
            self.kept = Some(self.optimisation.snapshot()?);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let Some(directory) = &self.options.checkpoint_dir else { return Ok(()) };
        let began = Instant::now();
        self.progress.updates = self.optimisation.optimiser.steps() as usize;
        checkpoint::write(directory, &self.identity, (&self.progress, self.memory.as_ref()), &self.optimisation)?;
        self.paused_s += began.elapsed().as_secs_f64();
        Ok(())
    }

    /// The last weights, or if they may be bad, those of the last evaluation.
    fn finish(self, stopped: Option<&Error>) -> (Option<Parameters>, Summary) {
        let failed = matches!(stopped, Some(error) if !matches!(error, Error::Stopped(_)));
        let doubtful = failed || self.optimisation.check_weights(self.progress.step).is_err();
        let params = match self.kept {
            Some(kept) if doubtful => Some(self.optimisation.at(self.params, kept)),
            _ if doubtful || self.progress.step == 0 => None,
            _ => Some(self.optimisation.current(self.params)),
        };
        let best = self.progress.best();
        let summary = Summary {
            best_step: best.map(|(record, _)| record.step),
            best_score: best.map(|(_, found)| found.score),
            best_loss: best.map(|(_, found)| found.loss),
            stopped_early: self.stopped_early,
            last: self.progress.last,
            rows: self.progress.rows,
            curve: self.progress.curve,
        };
        (params, summary)
    }
}
