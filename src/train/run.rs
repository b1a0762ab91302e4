//! One training run: the loop, its evaluations, and the weights it keeps.

use std::time::{Duration, Instant};

use super::batches::Batches;
use super::monitor::Monitor;
use super::network::{Inputs, Network};
use super::optimisation::{Optimisation, Snapshot, not_finite};
use super::options::FitOptions;
use super::plan::Plan;
use super::strategy::Strategy;
use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Backbone, Mode, Parameters};
use crate::batch::in_order_of_length;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::objective::{Classification, Labels};
use crate::report::{Evaluation, Record, Row, Summary};
use crate::rng::{Key, Stream};

pub(super) struct Run<'a> {
    frozen: &'a Parameters,
    optimisation: Optimisation<'a>,
    network: Network<'a>,
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
        let (optimisation, learning) = Optimisation::begin(params, plan, strategy, total_steps)?;
        Ok(Self {
            frozen: params,
            network: Network::load(&learning, &backbone.config, options)?,
            optimisation,
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
        let total = self.optimisation.schedule.total_steps;
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
                self.summary.curve.add(&record);
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
                        let record = self.mean_record();
                        monitor.on_epoch(&record)?;
                        self.summary.rows.push(Row { record, evaluation: None });
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
        let normalizer = self.objective.normalizer(labels, &inputs.items(&all));
        if normalizer <= 0.0 {
            // All of the group has weight zero: there is nothing to learn from it.
            self.summary.last.step += 1;
            return Ok(self.summary.last.clone());
        }
        let (network, objective, options, dropout) = (&self.network, self.objective, self.options, self.dropout);
        let stepped = self.optimisation.step(step, groups, |i| {
            let mode = Mode::training(dropout.child(step as u64).child(i as u64)).recomputing(options.recompute);
            let logits = network.logits(inputs, &groups[i], mode)?;
            Ok(vec![objective.loss(&logits, labels, &inputs.items(&groups[i]), normalizer)?])
        })?;
        self.losses = (self.losses.0 + stepped.loss, self.losses.1 + 1);
        Ok(Record {
            step: step + 1,
            loss: stepped.loss,
            learning_rate: stepped.learning_rate,
            grad_norm: stepped.grad_norm,
            ..Record::default()
        })
    }

    fn check_weights(&self) -> Result<()> {
        self.optimisation.check_weights(self.summary.last.step)
    }

    /// The network with its present weights; its passes keep nothing for a backward.
    fn without_gradients(&self) -> Result<Network<'a>> {
        Network::load(&self.optimisation.current(self.frozen), self.network.config(), self.options)
    }

    /// Weights can be finite and yet too large for a forward pass: try one before they are kept without an evaluation.
    fn check_loss(&self, inputs: &Inputs, labels: &Labels, examples: &[usize]) -> Result<()> {
        let items = inputs.items(examples);
        let normalizer = self.objective.normalizer(labels, &items).max(1.0);
        let network = self.without_gradients()?;
        let loss = in_pool(|| -> Result<f32> {
            let logits = network.logits(inputs, examples, Mode::inference())?;
            self.objective.loss(&logits, labels, &items, normalizer)?.scalar()
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
        let mut logits = vec![0f32; inputs.n_items() * c];
        for examples in in_order_of_length(&lengths, self.options.batch_tokens) {
            let out = in_pool(|| network.logits(inputs, &examples, Mode::inference()))?;
            for (item, row) in inputs.items(&examples).into_iter().zip(out.array().values()?.chunks_exact(c)) {
                logits[item * c..][..c].copy_from_slice(row);
            }
            monitor.on_wait()?;
        }
        let all: Vec<usize> = (0..inputs.n_items()).collect();
        let rows = Value::constant(Array::new(logits, (all.len(), c))?);
        let normalizer = self.objective.normalizer(labels, &all);
        let loss = f64::from(self.objective.loss(&rows, labels, &all, normalizer)?.scalar()?);
        if !loss.is_finite() {
            return Err(not_finite("evaluation loss", loss, self.summary.last.step, 0, &[]));
        }
        let record = self.mean_record();
        let score = monitor.on_evaluate(&rows.array().values()?, &record, loss)?;
        self.summary.rows.push(Row { record, evaluation: Some(Evaluation { loss, score }) });
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
        self.kept = Some(self.optimisation.snapshot()?);
        Ok(())
    }

    /// The weights to keep: the best evaluated; else the last, or if they may be bad, those of the last good epoch.
    pub fn finish(self, stopped: Option<&Error>) -> (Option<Parameters>, Summary) {
        let evaluated = self.summary.best_step.is_some();
        let failed = matches!(stopped, Some(error) if !matches!(error, Error::Stopped(_)));
        let doubtful = failed || self.check_weights().is_err();
        let params = match self.kept {
            Some(kept) if evaluated || doubtful => Some(self.optimisation.at(self.frozen, kept)),
            _ if doubtful || self.summary.last.step == 0 => None,
            _ => Some(self.optimisation.current(self.frozen)),
        };
        (params, self.summary)
    }
}
