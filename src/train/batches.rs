//! Which texts make each optimiser step of each epoch.

use super::options::FitOptions;
use crate::batch::shuffled;
use crate::error::Result;
use crate::rng::{Key, Stream};

/// The batches of every epoch follow from the seed, so the length of a run is known before it starts.
pub(super) struct Batches {
    lengths: Vec<usize>,
    budget: usize,
    key: Key,
    accumulation: usize,
    pub total_steps: usize,
    pub total_tokens: usize,
    pub steps_per_epoch: usize,
}

impl Batches {
    pub fn of(lengths: &[usize], options: &FitOptions, wait: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let key = Key::new(options.seed, Stream::Shuffle);
        let mut all = Self {
            lengths: lengths.to_vec(),
            budget: options.batch_tokens,
            key,
            accumulation: options.accumulation_steps,
            total_steps: 0,
            total_tokens: 0,
            steps_per_epoch: 0,
        };
        all.steps_per_epoch = all.steps(0).len();
        let mut epoch = 0;
        while options.max_steps.map_or(epoch < options.epochs, |max| all.total_steps < max) {
            for step in all.steps(epoch) {
                if options.max_steps == Some(all.total_steps) {
                    break;
                }
                all.total_steps += 1;
                all.total_tokens += step.iter().flatten().map(|&text| lengths[text]).sum::<usize>();
            }
            epoch += 1;
            wait()?;
        }
        Ok(all)
    }

    /// The optimiser steps of an epoch, each the batches it accumulates; the last may have fewer.
    pub fn steps(&self, epoch: usize) -> Vec<Vec<Vec<usize>>> {
        let batches = shuffled(&self.lengths, self.budget, self.key.child(epoch as u64));
        batches.chunks(self.accumulation).map(<[_]>::to_vec).collect()
    }

    /// Tokens of these texts.
    pub fn tokens(&self, texts: &[usize]) -> usize {
        texts.iter().map(|&text| self.lengths[text]).sum()
    }
}
