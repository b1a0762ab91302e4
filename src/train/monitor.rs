//! Callbacks of a training run, which may also stop it.

use crate::error::Result;
use crate::report::{Facts, Record};

/// Callbacks on the thread that called `fit`. An error ends the run; what was learnt so far is kept.
pub trait Monitor {
    /// Name of the metric: scores are comparable only with those of the same metric.
    fn metric(&self) -> Result<String>;
    /// Called before the first step.
    fn on_start(&mut self, facts: &Facts) -> Result<()>;
    /// Called after every optimiser step.
    fn on_step(&mut self, record: &Record) -> Result<()>;
    /// Called now and then during long work between steps, so that the run can be stopped.
    fn on_wait(&mut self) -> Result<()>;
    /// Called after an evaluation with the outputs `[N, C]`, row-major. Returns the score, higher is better.
    fn on_evaluate(&mut self, logits: &[f32], record: &Record, eval_loss: f64) -> Result<f64>;
    /// Called at the end of each epoch if the run has no evaluation.
    fn on_epoch(&mut self, record: &Record) -> Result<()>;
}
