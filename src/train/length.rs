//! The length of a run, as far as it is known before it begins.

use super::batches::Batches;
use super::options::TrainingOptions;
use crate::error::Result;

/// Number of optimiser steps counted exactly. Longer runs are extrapolated from them: the time to count every step
/// would grow with the epochs and the size of the corpus.
pub(super) const COUNTED: usize = 4096;

/// Optimiser steps and tokens of a run, exact up to [`COUNTED`] steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunLength {
    pub steps: usize,
    pub tokens: usize,
    pub steps_per_epoch: usize,
}

impl RunLength {
    pub fn of(batches: &dyn Batches, options: &TrainingOptions, wait: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let (mut steps, mut tokens, mut first_epoch) = (0, 0, None);
        let mut epoch = 0;
        while options.max_steps.map_or(epoch < options.epochs, |max| steps < max) {
            for groups in batches.steps(epoch) {
                if options.max_steps == Some(steps) {
                    break;
                }
                if steps == COUNTED {
                    return Ok(Self::estimated(batches, options, tokens, first_epoch));
                }
                steps += 1;
                tokens += groups.iter().map(|batch| batches.tokens(batch)).sum::<usize>();
            }
            first_epoch = first_epoch.or(Some(steps));
            epoch += 1;
            wait()?;
        }
        Ok(Self { steps, tokens, steps_per_epoch: first_epoch.unwrap_or(steps) })
    }

    /// Estimate from the tokens of the first [`COUNTED`] steps, and from the steps of the first epoch if it was counted
    /// to its end.
    fn estimated(batches: &dyn Batches, options: &TrainingOptions, tokens: usize, first_epoch: Option<usize>) -> Self {
        let of_epoch = batches.tokens_of_epoch();
        let per_step = tokens as f64 / COUNTED as f64;
        let steps_per_epoch = first_epoch.unwrap_or((of_epoch as f64 / per_step).round() as usize);
        let steps = options.max_steps.unwrap_or(options.epochs * steps_per_epoch);
        let of_steps = |steps: usize| (steps as f64 * per_step) as usize;
        Self { steps, tokens: options.max_steps.map_or(options.epochs * of_epoch, of_steps), steps_per_epoch }
    }
}
