//! One training run: the loop, its evaluations, and the weights it keeps.

use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::batches::Batches;
use super::monitor::Monitor;
use super::network::{Inputs, Network};
use super::options::FitOptions;
use super::plan::Plan;
use super::strategy::Strategy;
use crate::autograd::Value;
use crate::backbone::{Backbone, Mode, Parameters};
use crate::batch::in_order_of_length;
use crate::compute::{in_pool, release, values};
use crate::error::{Error, Result};
use crate::objective::{Classification, Labels};
use crate::optim::{AdamW, Gradients, Schedule, Trainable, is_finite};
use crate::report::{Record, Summary};
use crate::rng::{Key, Stream};

/// Values of the trained parameters at some moment.
type Snapshot = Vec<Tensor>;

pub(super) struct Run<'a> {
    frozen: &'a Parameters,
    trainable: Vec<Trainable>,
    gradients: Gradients,
    network: Network<'a>,
    optimiser: AdamW,
    schedule: Schedule,
    strategy: &'a Strategy,
    objective: &'a Classification,
    options: &'a FitOptions,
    dropout: Key,
    started: Instant,
    evaluating: Duration,
    /// Losses since the last evaluation or epoch: sum and number.
    losses: (f64, usize),
    /// The best evaluation's weights; without evaluation those of the last epoch, in case the next goes wrong.
    kept: Option<Snapshot>,
    since_best: usize,
    summary: Summary,
}

/// All parameters by name, the trained ones with their present values and without gradients.
fn with_trained(all: &Parameters, trainable: &[Trainable]) -> Parameters {
    let mut params = all.clone();
    for p in trainable {
        params.insert(&p.name, p.tensor.clone());
    }
    params
}

impl<'a> Run<'a> {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        params: &'a Parameters,
        plan: &Plan,
        strategy: &'a Strategy,
        objective: &'a Classification,
        backbone: &'a Backbone,
        options: &'a FitOptions,
        total_steps: usize,
        started: Instant,
    ) -> Result<Self> {
        let trainable = plan.trainable(params)?;
        // Weights mapped from a file were read to be copied, and are not needed in memory any more.
        release();
        let gradients = Gradients::new(&trainable);
        let mut learning = params.clone();
        for (p, slot) in trainable.iter().zip(gradients.slots()) {
            learning.insert_trained(&p.name, p.tensor.clone(), slot)?;
        }
        let warmup_steps = (strategy.warmup_ratio * total_steps as f64).ceil() as usize;
        Ok(Self {
            frozen: params,
            network: Network::load(&learning, &backbone.config, options)?,
            optimiser: AdamW::new(&trainable, strategy.beta1, strategy.beta2, strategy.epsilon),
            schedule: Schedule { kind: strategy.schedule, warmup_steps, total_steps },
            trainable,
            gradients,
            strategy,
            objective,
            options,
            dropout: Key::new(options.seed, Stream::Dropout),
            started,
            evaluating: Duration::ZERO,
            losses: (0.0, 0),
            kept: None,
            since_best: 0,
            summary: Summary::default(),
        })
    }

    /// Run to the end, to early stopping, or to an error.
    pub fn train(
        &mut self,
        inputs: &Inputs,
        labels: &Labels,
        eval: Option<&(Inputs, &Labels)>,
        batches: &Batches,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let total = self.schedule.total_steps;
        for epoch in 0.. {
            let steps = batches.steps(epoch);
            let n_steps = steps.len();
            for (i, groups) in steps.into_iter().enumerate() {
                let mut record = self.step(inputs, labels, &groups)?;
                record.tokens =
                    self.summary.last.tokens + groups.iter().map(|texts| batches.tokens(texts)).sum::<usize>();
                record.epoch = epoch as f64 + (i + 1) as f64 / n_steps as f64;
                record.elapsed_s = self.started.elapsed().saturating_sub(self.evaluating).as_secs_f64();
                let step = record.step;
                self.summary.last = record.clone();
                monitor.on_step(&record)?;
                let (last, end_of_epoch) = (step == total, i + 1 == n_steps);
                match eval {
                    Some((inputs, labels)) => {
                        let due = self.options.eval_every.map_or(end_of_epoch, |n| step.is_multiple_of(n));
                        if (due || last) && self.evaluate(inputs, labels, monitor)? {
                            self.summary.stopped_early = !last;
                            return Ok(());
                        }
                    }
                    None if end_of_epoch || last => {
                        self.check_weights()?;
                        self.check_loss(inputs, labels, &groups[0])?;
                        monitor.on_epoch(&self.mean_record())?;
                        if !last {
                            self.keep()?;
                        }
                    }
                    None => {}
                }
                if last {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One optimiser step over the batches of a group.
    fn step(&mut self, inputs: &Inputs, labels: &Labels, groups: &[Vec<usize>]) -> Result<Record> {
        let step = self.summary.last.step;
        let all: Vec<usize> = groups.iter().flatten().copied().collect();
        let normalizer = self.objective.normalizer(labels, &all);
        if normalizer <= 0.0 {
            // Every text of the group has weight zero: there is nothing to learn from it.
            self.summary.last.step += 1;
            return Ok(self.summary.last.clone());
        }
        let factor = self.schedule.factor(step);
        let (loss, norm) = in_pool(|| -> Result<(f64, f64)> {
            self.gradients.clear();
            let mut loss = 0.0;
            for (i, examples) in groups.iter().enumerate() {
                let mode = Mode::training(self.dropout.child(step as u64).child(i as u64));
                let logits = self.network.logits(inputs, examples, mode.recomputing(self.options.recompute))?;
                let batch_loss = self.objective.loss(&logits, labels, examples, normalizer)?;
                let value = f64::from(batch_loss.scalar()?);
                if !value.is_finite() {
                    return Err(not_finite("loss", value, step + 1, i, examples));
                }
                loss += value;
                // Nothing else may hold what the backward pass is to free.
                drop(logits);
                batch_loss.backward()?;
            }
            if self.optimiser.steps() == 0 {
                self.audit()?;
            }
            let norm = self.gradients.norm();
            if !norm.is_finite() {
                return Err(not_finite("gradient norm", norm, step + 1, groups.len() - 1, &all));
            }
            let scale = self.strategy.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
            self.optimiser.step(&self.trainable, &self.gradients, scale, factor)?;
            Ok((loss, norm))
        })?;
        self.losses = (self.losses.0 + loss, self.losses.1 + 1);
        Ok(Record {
            step: step + 1,
            loss,
            learning_rate: self.strategy.learning_rate * factor,
            grad_norm: norm,
            ..Record::default()
        })
    }

    /// Every trained parameter must receive a finite gradient: an operation without a backward stops it silently.
    fn audit(&self) -> Result<()> {
        let problems = self.gradients.audit(&self.trainable);
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Training(format!(
            "step 1: {} of {} trained parameters received no usable gradient:\n  {}",
            problems.len(),
            self.trainable.len(),
            problems.join("\n  ")
        )))
    }

    /// The last update may have been the one that overflowed: the loss would tell only a step later.
    fn check_weights(&self) -> Result<()> {
        for p in &self.trainable {
            if !in_pool(|| is_finite(&p.tensor))? {
                return Err(not_finite(&format!("parameter {}", p.name), f64::NAN, self.summary.last.step, 0, &[]));
            }
        }
        Ok(())
    }

    /// The network with its present weights; its passes keep nothing for a backward.
    fn without_gradients(&self) -> Result<Network<'a>> {
        Network::load(&with_trained(self.frozen, &self.trainable), self.network.config(), self.options)
    }

    /// Weights can be finite and yet too large for a forward pass: try one before they are kept without an evaluation.
    fn check_loss(&self, inputs: &Inputs, labels: &Labels, examples: &[usize]) -> Result<()> {
        let normalizer = self.objective.normalizer(labels, examples).max(1.0);
        let network = self.without_gradients()?;
        let loss = in_pool(|| -> Result<f32> {
            let logits = network.logits(inputs, examples, Mode::inference())?;
            self.objective.loss(&logits, labels, examples, normalizer)?.scalar()
        })?;
        if loss.is_finite() {
            return Ok(());
        }
        Err(not_finite("loss after the last update", f64::from(loss), self.summary.last.step, 0, examples))
    }

    /// Evaluate; true if it is time to stop early.
    fn evaluate(&mut self, inputs: &Inputs, labels: &Labels, monitor: &mut dyn Monitor) -> Result<bool> {
        let began = Instant::now();
        self.check_weights()?;
        let network = self.without_gradients()?;
        let c = self.objective.n_outputs;
        let lengths = inputs.lengths();
        let mut logits = vec![0f32; lengths.len() * c];
        for examples in in_order_of_length(&lengths, self.options.batch_tokens) {
            let out = in_pool(|| network.logits(inputs, &examples, Mode::inference()))?;
            for (&example, row) in examples.iter().zip(values(out.tensor())?.chunks_exact(c)) {
                logits[example * c..][..c].copy_from_slice(row);
            }
            monitor.on_wait()?;
        }
        let all: Vec<usize> = (0..lengths.len()).collect();
        let rows = Value::constant(Tensor::from_slice(&logits, (all.len(), c), &candle_core::Device::Cpu)?);
        let normalizer = self.objective.normalizer(labels, &all);
        let loss = f64::from(self.objective.loss(&rows, labels, &all, normalizer)?.scalar()?);
        if !loss.is_finite() {
            return Err(not_finite("evaluation loss", loss, self.summary.last.step, 0, &[]));
        }
        let score = monitor.on_evaluate(&logits, &self.mean_record(), loss)?;
        self.evaluating += began.elapsed();
        if self.is_best(score, loss) {
            self.summary.best_score = Some(score);
            self.summary.best_loss = Some(loss);
            self.summary.best_step = Some(self.summary.last.step);
            self.keep()?;
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        Ok(self.options.patience.is_some_and(|patience| self.since_best >= patience))
    }

    /// Of equal scores, frequent on small evaluation sets, the one with the smaller loss is better.
    fn is_best(&self, score: f64, loss: f64) -> bool {
        let (Some(best), Some(best_loss)) = (self.summary.best_score, self.summary.best_loss) else { return true };
        best.is_nan() || score > best || (score == best && loss < best_loss)
    }

    /// The last record with the mean loss since the last call.
    fn mean_record(&mut self) -> Record {
        let (sum, n) = std::mem::take(&mut self.losses);
        Record { loss: sum / n.max(1) as f64, ..self.summary.last.clone() }
    }

    /// Keep the present weights. Those kept before go first: two copies would be the peak of a run's memory.
    fn keep(&mut self) -> Result<()> {
        self.kept = None;
        self.kept = Some(self.trainable.iter().map(|p| Ok(p.tensor.copy()?)).collect::<Result<Snapshot>>()?);
        Ok(())
    }

    /// The weights to keep: the best evaluated; else the last, or if they may be bad, those of the last good epoch.
    pub fn finish(self, stopped: Option<&Error>) -> (Option<Parameters>, Summary) {
        let evaluated = self.summary.best_step.is_some();
        let failed = matches!(stopped, Some(error) if !matches!(error, Error::Stopped(_)));
        let doubtful = failed || self.check_weights().is_err();
        let current = with_trained(self.frozen, &self.trainable);
        let params = match self.kept {
            Some(kept) if evaluated || doubtful => {
                let mut params = current;
                for (p, tensor) in self.trainable.iter().zip(kept) {
                    params.insert(&p.name, tensor);
                }
                Some(params)
            }
            _ if doubtful || self.summary.last.step == 0 => None,
            _ => Some(current),
        };
        (params, self.summary)
    }
}

fn not_finite(what: &str, value: f64, step: usize, batch: usize, examples: &[usize]) -> Error {
    let shown: Vec<String> = examples.iter().take(8).map(ToString::to_string).collect();
    let texts = match examples.len() {
        0 => String::new(),
        n if n > shown.len() => format!(" (texts {}, ...)", shown.join(", ")),
        _ => format!(" (texts {})", shown.join(", ")),
    };
    Error::Training(format!(
        "step {step}, batch {batch}: the {what} is {value}{texts}. The weights go back to the last evaluation or end of an epoch; \
         before the first of them nothing is kept. A smaller learning_rate, a warm-up or a smaller max_grad_norm usually mends this"
    ))
}
