//! Optimiser steps: accumulate the gradients of the micro-batches, check and clip them, and update the weights.

use super::plan::Plan;
use crate::array::Array;
use crate::autograd::Var;
use crate::backbone::{Parameters, damaged};
use crate::compute::{in_pool, release};
use crate::error::{Error, Result};
use crate::optim::{AdamW, Gradients, OptimizerOptions, Schedule, Trainable, is_finite};
use crate::report::Record;

/// Values of all trained parameters at one moment.
pub(super) type Snapshot = Vec<Array>;

/// The trained parameters with their gradients, optimiser and learning-rate schedule.
pub(super) struct Optimisation {
    trainable: Vec<Trainable>,
    gradients: Gradients,
    pub optimiser: AdamW,
    schedule: Schedule,
    options: OptimizerOptions,
}

impl Optimisation {
    /// Set up the optimiser for the parameters that the plan trains and about `total_steps` steps. Also returns all
    /// parameters, the trained ones with a slot for their gradient.
    pub fn begin(
        params: &Parameters,
        plan: &Plan,
        options: &OptimizerOptions,
        total_steps: usize,
    ) -> Result<(Self, Parameters)> {
        let trainable = plan.trainable(params)?;
        // Frozen parameters are checked too: what is trained on top of NaNs would be wrong, and the loss does not
        // always show it.
        let names = params.filter(|name| plan.is_used(name)).not_finite()?;
        if !names.is_empty() {
            return Err(damaged("this model cannot be trained", &names));
        }
        // The trained weights have been copied from the mapped file, whose pages are no longer needed in memory.
        release();
        let gradients = Gradients::new(&trainable)?;
        let mut learning = params.clone();
        for (p, slot) in trainable.iter().zip(gradients.slots()) {
            learning.train(&p.name, p.array.clone(), slot)?;
        }
        // The first learning rate of a warm-up is 0: a run of a single step would learn nothing.
        let warmup_steps = (options.warmup_ratio * total_steps as f64).ceil() as usize;
        let warmup_steps = warmup_steps.min(total_steps.saturating_sub(1));
        let optimiser = AdamW::new(&trainable, options.beta1, options.beta2, options.epsilon)?;
        let schedule = Schedule { kind: options.schedule, warmup_steps, total_steps };
        Ok((Self { trainable, gradients, optimiser, schedule, options: options.clone() }, learning))
    }

    /// Run one optimiser step, after `step` earlier ones. `losses(i)` returns the loss terms of micro-batch
    /// `groups[i]`, scaled so that all of them sum to the step's loss. The record holds this sum and the norm of the
    /// gradients before clipping.
    pub fn step(
        &mut self,
        step: usize,
        groups: &[Vec<usize>],
        mut losses: impl FnMut(usize) -> Result<Vec<Var>> + Send,
    ) -> Result<Record> {
        let factor = self.schedule.factor(step);
        let (loss, grad_norm) = in_pool(|| -> Result<(f64, f64)> {
            self.gradients.clear();
            let mut sum = 0.0;
            for (i, inputs) in groups.iter().enumerate() {
                for loss in losses(i)? {
                    let value = f64::from(loss.scalar()?);
                    if !value.is_finite() {
                        return Err(not_finite("loss", value, step + 1, i, inputs));
                    }
                    sum += value;
                    loss.backward()?;
                }
            }
            if self.optimiser.steps() == 0 {
                self.audit()?;
            }
            let norm = self.gradients.norm()?;
            if !norm.is_finite() {
                return Err(not_finite("gradient norm", norm, step + 1, groups.len() - 1, &groups.concat()));
            }
            let scale = self.options.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
            self.optimiser.step(&self.trainable, &self.gradients, scale, factor)?;
            Ok((sum, norm))
        })?;
        let learning_rate = self.options.learning_rate * factor;
        Ok(Record { step: step + 1, loss, learning_rate, grad_norm, ..Record::default() })
    }

    /// Check that every trained parameter received a finite gradient: an operation without a backward would cut it off
    /// silently.
    fn audit(&self) -> Result<()> {
        let problems = self.gradients.audit(&self.trainable)?;
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

    /// Check that all trained weights are finite. If the last update overflowed, the loss would show it only a step
    /// later.
    pub fn check_weights(&self, step: usize) -> Result<()> {
        for p in &self.trainable {
            if !is_finite(&p.array)? {
                return Err(not_finite(&format!("parameter {}", p.name), f64::NAN, step, 0, &[]));
            }
        }
        Ok(())
    }

    /// The trained parameters.
    pub fn trainable(&self) -> &[Trainable] {
        &self.trainable
    }

    /// Restore the trained parameters and the optimiser's moments as they were after `steps` updates.
    pub fn restore(&mut self, value: impl Fn(&str) -> Result<Array>, moments: [Array; 2], steps: usize) -> Result<()> {
        for (p, found) in self.trainable.iter().zip(self.stored(value)?) {
            let found = found.values()?;
            p.array.overwrite(|values| values.copy_from_slice(&found))?;
        }
        self.optimiser.restore(moments, steps)
    }

    /// Values of each trained parameter, looked up by name with `value`.
    ///
    /// # Errors
    /// `Error::Training` if a stored parameter has another shape.
    pub fn stored(&self, value: impl Fn(&str) -> Result<Array>) -> Result<Snapshot> {
        let one = |p: &Trainable| {
            let found = value(&p.name)?;
            if found.dims() == p.array.dims() {
                return Ok(found);
            }
            let (got, expected) = (found.dims(), p.array.dims());
            Err(Error::Training(format!("{} is of shape {got:?}, expected {expected:?}", p.name)))
        };
        self.trainable.iter().map(one).collect()
    }

    /// `all` parameters by name, the trained ones with their current values and without gradients.
    pub fn current(&self, all: &Parameters) -> Result<Parameters> {
        self.at(all, self.trainable.iter().map(|p| p.array.clone()).collect())
    }

    /// A copy of the current values of the trained parameters.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.trainable.iter().map(|p| p.array.copy()).collect()
    }

    /// `all` parameters by name, the trained ones with the values of `snapshot`.
    pub fn at(&self, all: &Parameters, snapshot: Snapshot) -> Result<Parameters> {
        let mut params = all.clone();
        for (p, array) in self.trainable.iter().zip(snapshot) {
            params.replace(&p.name, array)?;
        }
        Ok(params)
    }
}

pub(super) fn not_finite(what: &str, value: f64, step: usize, batch: usize, inputs: &[usize]) -> Error {
    let shown: Vec<String> = inputs.iter().take(8).map(ToString::to_string).collect();
    let texts = match inputs.len() {
        0 => String::new(),
        n if n > shown.len() => format!(" (texts {}, ...)", shown.join(", ")),
        _ => format!(" (texts {})", shown.join(", ")),
    };
    Error::Training(format!(
        "step {step}, batch {batch}: the {what} is {value}{texts}. The weights go back to those of an evaluation or the end of an epoch; \
         before the first of them nothing is kept. A smaller learning_rate, a warm-up or a smaller max_grad_norm usually mends this"
    ))
}
