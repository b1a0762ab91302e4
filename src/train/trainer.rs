//! The training loop: steps, evaluations, checkpoints, and the choice of the weights to return.

use std::time::Instant;

use serde_json::json;

use super::batches::Groups;
use super::checkpoint::Checkpoints;
use super::learner::{Found, Learner};
use super::length::RunLength;
use super::monitor::Monitor;
use super::optimisation::{Optimisation, Snapshot, not_finite};
use super::options::{Keep, TrainingOptions};
use super::plan::Plan;
use super::progress::Progress;
use crate::backbone::{Memory, Mode, Parameters};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::report::{Evaluation, Facts, Record, Row, Summary};
use crate::rng::{Key, Stream};

/// Result of a run.
pub struct Outcome<M> {
    /// The trained model; none if the run was stopped before any good weights were kept.
    pub model: Option<M>,
    pub summary: Summary,
    pub facts: Facts,
    /// True if the checkpoint was of a finished run, so that nothing was left to train.
    pub was_finished: bool,
    /// The error that stopped the run, if it did not end by itself.
    pub stopped: Option<Error>,
}

/// Train the parameters among `params` that the plan marks as trainable; `finish` builds the model from the weights to
/// return.
pub(super) fn train<L: Learner, M>(
    learner: &mut L,
    params: &Parameters,
    plan: &Plan,
    options: &TrainingOptions,
    monitor: &mut dyn Monitor,
    finish: impl FnOnce(&Parameters) -> Result<M>,
) -> Result<Outcome<M>> {
    let length = RunLength::of(learner.batches(), options, &mut || monitor.on_wait())?;
    let (mut optimisation, learning) = Optimisation::begin(params, plan, &options.optimizer, length.steps)?;
    let (mut progress, mut memory, mut kept) = (Progress::default(), None, None);
    let checkpoints = Checkpoints::open(learner, params, options)?;
    if let Some((found, remembered, best)) =
        checkpoints.as_ref().map(|all| all.read(&mut optimisation)).transpose()?.flatten()
    {
        // The weights of a checkpoint are good: fall back to them if the next steps go wrong.
        let now = if found.is_complete { None } else { Some((found.step, optimisation.snapshot()?)) };
        let best_step = found.best(L::BEST_BY_LOSS).map(|(record, _)| record.step);
        (progress, memory, kept) = (found, remembered, best_step.zip(best).or(now));
    }
    if let Some(checkpoints) = &checkpoints {
        let metric = monitor.metric()?;
        let held_out = learner.held_out().map(|texts| json!({"texts": texts, "metric": metric}));
        checkpoints.evaluate_on(&mut progress, held_out)?;
    }
    let was_finished = progress.is_complete || is_out_of_patience::<L>(&progress, options);
    let facts = Facts {
        total_steps: length.steps,
        total_tokens: length.tokens,
        tokens_done: progress.tokens,
        steps_per_epoch: length.steps_per_epoch,
        batch_tokens: options.batch_tokens,
        trainable_parameters: plan.trainable_count(),
        parameters: params.count(),
    };
    monitor.on_start(&facts)?;
    let started = Instant::now();
    if !was_finished {
        learner.precompute(params, monitor)?;
    }
    let mut trainer = Trainer {
        network: learner.network(&learning)?,
        learner: &*learner,
        params,
        options,
        optimisation,
        before_s: progress.last.elapsed_s,
        progress,
        memory,
        kept,
        checkpoints,
        started,
        paused_s: 0.0,
        stopped_early: false,
    };
    trainer.stopped_early = was_finished && !trainer.progress.is_complete;
    let trained = if was_finished { Ok(()) } else { trainer.train(monitor) };
    let stopped = match trainer.optimisation.optimiser.steps() {
        0 => trained.err().or_else(|| Some(learner.nothing_asked())),
        _ => trained.err(),
    };
    let (params, summary) = trainer.finish(stopped.as_ref())?;
    let model = params.as_ref().map(finish).transpose()?;
    Ok(Outcome { model, summary, facts, was_finished, stopped })
}

struct Trainer<'a, L: Learner> {
    learner: &'a L,
    /// All parameters, before training.
    params: &'a Parameters,
    options: &'a TrainingOptions,
    network: L::Network,
    optimisation: Optimisation,
    progress: Progress,
    /// Hidden states carried from the previous batch to the next.
    memory: Option<Memory>,
    /// A copy of the weights to return, or to fall back to if later steps go wrong, with their step; none if the
    /// current weights are the ones.
    kept: Option<(usize, Snapshot)>,
    checkpoints: Option<Checkpoints>,
    started: Instant,
    /// Seconds of training before this run was resumed, and seconds of this run not spent on training.
    before_s: f64,
    paused_s: f64,
    stopped_early: bool,
}

fn is_out_of_patience<L: Learner>(progress: &Progress, options: &TrainingOptions) -> bool {
    options.patience.is_some_and(|patience| progress.since_best(L::BEST_BY_LOSS) >= patience)
}

impl<L: Learner> Trainer<'_, L> {
    /// Run to the end, to early stopping, or to an error.
    fn train(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        let learner = self.learner;
        loop {
            let (epoch, done) = (self.progress.epochs, self.progress.steps_of_epoch);
            let mut steps = learner.batches().steps(epoch).skip(done).peekable();
            if steps.peek().is_none() {
                return Err(Error::internal(format!("epoch {epoch} has no step after {done}")));
            }
            while let Some(groups) = steps.next() {
                let end_of_epoch = steps.peek().is_none();
                let record = self.step(&groups)?;
                let in_last_epoch = epoch + 1 == self.options.epochs;
                let last = self.options.max_steps.map_or(end_of_epoch && in_last_epoch, |max| record.step == max);
                self.count(record, &groups, end_of_epoch, last);
                monitor.on_step(&self.progress.last)?;
                let step = self.progress.step;
                let due = self.options.eval_every.map_or(end_of_epoch, |n| step.is_multiple_of(n)) || last;
                if due {
                    let began = Instant::now();
                    self.evaluate(&groups, last, monitor)?;
                    self.paused_s += began.elapsed().as_secs_f64();
                }
                let stop = due && is_out_of_patience::<L>(&self.progress, self.options);
                if self.options.checkpoint_every.is_some_and(|n| step.is_multiple_of(n)) || last || stop {
                    self.checkpoint()?;
                }
                if last || stop {
                    self.stopped_early = !last;
                    return Ok(());
                }
            }
        }
    }

    /// Run one optimiser step over a group of micro-batches.
    fn step(&mut self, groups: &Groups) -> Result<Record> {
        let (learner, network, number, recompute) =
            (self.learner, &self.network, self.progress.step, self.options.recompute);
        let mut step = in_pool(|| learner.step(groups, number))?;
        let dropout = Key::new(self.options.seed, Stream::Dropout).child(number as u64);
        let (asks, memory) = (L::asks(&step), &mut self.memory);
        let mut losses = |i: usize| {
            let mode = Mode::training(dropout.child(i as u64)).recomputing(recompute);
            learner.losses(network, &mut step, i, mode, memory)
        };
        if !asks {
            // Run the passes all the same: the next batch may need their hidden states as memory.
            in_pool(|| (0..groups.len()).try_for_each(|i| losses(i).map(drop)))?;
            return Ok(Record { step: number + 1, ..self.progress.last.clone() });
        }
        let record = self.optimisation.step(number, groups, losses)?;
        self.progress.loss_sum += record.loss;
        self.progress.losses += 1;
        Ok(record)
    }

    /// Update the counters and the loss curve after a step.
    fn count(&mut self, mut record: Record, groups: &Groups, end_of_epoch: bool, last: bool) {
        let tokens: usize = groups.iter().map(|batch| self.learner.batches().tokens(batch)).sum();
        let progress = &mut self.progress;
        progress.step = record.step;
        progress.tokens += tokens;
        progress.tokens_of_epoch += tokens;
        progress.steps_of_epoch += 1;
        progress.is_complete = last;
        record.tokens = progress.tokens;
        record.epoch = if end_of_epoch {
            (progress.epochs, progress.steps_of_epoch, progress.tokens_of_epoch) = (progress.epochs + 1, 0, 0);
            progress.epochs as f64
        } else {
            progress.epochs as f64 + progress.tokens_of_epoch as f64 / self.learner.batches().tokens_of_epoch() as f64
        };
        record.elapsed_s = self.before_s + self.started.elapsed().as_secs_f64() - self.paused_s;
        progress.curve.add(&record);
        progress.last = record;
    }

    /// Evaluate, or without held-out data check that the weights are good; `groups` are the micro-batches of the last
    /// step.
    fn evaluate(&mut self, groups: &Groups, last: bool, monitor: &mut dyn Monitor) -> Result<()> {
        let step = self.progress.step;
        self.optimisation.check_weights(step)?;
        // A network without gradient slots: its passes keep nothing for a backward.
        let network = self.learner.network(&self.optimisation.current(self.params)?)?;
        let found = self.learner.evaluate(&network, monitor)?;
        let record = self.progress.mean_record();
        let Some(Found { loss, outputs }) = found else {
            self.check_loss(&network, groups)?;
            monitor.on_epoch(&record)?;
            self.progress.rows.push(Row { record, evaluation: None });
            return self.keep(last);
        };
        if !loss.is_finite() {
            return Err(not_finite("evaluation loss", loss, step, 0, &[]));
        }
        let score = monitor.on_evaluate(&outputs, &record, loss)?;
        if !score.is_finite() {
            return Err(Error::Value(format!("step {step}: the score of an evaluation is {score}")));
        }
        self.progress.rows.push(Row { record, evaluation: Some(Evaluation { loss, score }) });
        let is_best = self.best_step() == Some(step);
        if self.options.keep == Keep::Last || is_best { self.keep(last) } else { Ok(()) }
    }

    fn best_step(&self) -> Option<usize> {
        self.progress.best(L::BEST_BY_LOSS).map(|(record, _)| record.step)
    }

    /// Check the loss of a forward pass before weights are kept without an evaluation: they can be finite and yet too
    /// large for one.
    fn check_loss(&self, network: &L::Network, groups: &Groups) -> Result<()> {
        let (learner, number) = (self.learner, self.progress.step - 1);
        let loss = in_pool(|| -> Result<f64> {
            let mut step = learner.step(&groups[..1].to_vec(), number)?;
            let losses = learner.losses(network, &mut step, 0, Mode::inference(), &mut None)?;
            losses.iter().map(|loss| loss.scalar().map(f64::from)).sum()
        })?;
        if loss.is_finite() {
            return Ok(());
        }
        Err(not_finite("loss after the last update", loss, self.progress.step, 0, &groups[0]))
    }

    /// Keep a copy of the current weights. The previous copy is freed first: two copies would be the peak of a run's
    /// memory.
    fn keep(&mut self, last: bool) -> Result<()> {
        self.kept = None;
        if !last {
            self.kept = Some((self.progress.step, self.optimisation.snapshot()?));
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let began = Instant::now();
        // The previous checkpoint is good: bad weights must not replace it.
        self.optimisation.check_weights(self.progress.step)?;
        self.progress.updates = self.optimisation.optimiser.steps() as usize;
        // Weights kept only as a fallback are not written.
        let is_best = self.best_step() == Some(self.progress.step);
        let kept = self.kept.as_ref().filter(|(step, _)| !is_best && self.best_step() == Some(*step));
        let kept = kept.map(|(_, snapshot)| snapshot).filter(|_| self.options.keep == Keep::Best);
        checkpoints.write(&self.progress, self.memory.as_ref(), kept, &self.optimisation)?;
        self.paused_s += began.elapsed().as_secs_f64();
        Ok(())
    }

    /// The weights to return: the best evaluated or the last; if those may be bad, the copy kept before.
    fn finish(self, stopped: Option<&Error>) -> Result<(Option<Parameters>, Summary)> {
        // A checkpoint that could not be written does not mean that the weights are bad.
        let failed = stopped.is_some_and(|error| !matches!(error, Error::Stopped(_) | Error::Io { .. }));
        let doubtful = failed || self.optimisation.check_weights(self.progress.step).is_err();
        let best = self.progress.best(L::BEST_BY_LOSS);
        let is_best_kept = self.options.keep == Keep::Best && best.is_some();
        let (params, kept_step) = match self.kept {
            Some((step, kept)) if doubtful || is_best_kept => {
                (Some(self.optimisation.at(self.params, kept)?), Some(step))
            }
            _ if doubtful || self.progress.step == 0 => (None, None),
            _ => (Some(self.optimisation.current(self.params)?), Some(self.progress.step)),
        };
        let summary = Summary {
            best_step: best.map(|(record, _)| record.step),
            best_score: best.map(|(_, found)| found.score),
            kept_step,
            stopped_early: self.stopped_early,
            last: self.progress.last,
            rows: self.progress.rows,
            curve: self.progress.curve,
        };
        Ok((params, summary))
    }
}
