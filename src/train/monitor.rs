//! What a run tells the outside, and how the outside stops it.

use crate::error::Result;
use crate::report::{Facts, Record};

/// Called on the thread that called `fit`. An error ends the run; what was learnt so far is kept.
pub trait Monitor {
    /// What the scores are of: those of another run compare only if it is the same.
    fn metric(&self) -> Result<String>;
    /// Before the first step.
    fn on_start(&mut self, facts: &Facts) -> Result<()>;
    /// After every optimiser step.
    fn on_step(&mut self, record: &Record) -> Result<()>;
    /// Now and then during long work between steps; only a chance to stop.
    fn on_wait(&mut self) -> Result<()>;
    /// After an evaluation: logits `[N, C]`, row-major. Returns the score, higher is better.
    fn on_evaluate(&mut self, logits: &[f32], record: &Record, eval_loss: f64) -> Result<f64>;
    /// At the end of an epoch of a run without evaluation.
    fn on_epoch(&mut self, record: &Record) -> Result<()>;
}
