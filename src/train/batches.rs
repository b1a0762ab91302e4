//! Which examples make each optimiser step.

use super::options::TrainingOptions;
use crate::batch::shuffled;
use crate::rng::{Key, Stream};

/// The batches of one optimiser step, each the numbers of its examples: texts, or blocks of a corpus.
pub(super) type Groups = Vec<Vec<usize>>;

/// The batches of a run; they follow from its options and its seed.
pub(super) trait Batches: Sync {
    /// The optimiser steps of an epoch, of which the last may have fewer batches.
    fn steps(&self, epoch: usize) -> Box<dyn Iterator<Item = Groups> + Send + '_>;
    /// Tokens of a batch.
    fn tokens(&self, batch: &[usize]) -> usize;
    /// Tokens of an epoch.
    fn tokens_of_epoch(&self) -> usize;
}

/// Batches of texts of similar length.
pub(super) struct TextBatches<'a> {
    /// Tokens of each text, and of all.
    lengths: Vec<usize>,
    n_tokens: usize,
    options: &'a TrainingOptions,
}

impl<'a> TextBatches<'a> {
    /// Of texts of so many tokens.
    pub fn new(lengths: Vec<usize>, options: &'a TrainingOptions) -> Self {
        Self { n_tokens: lengths.iter().sum(), lengths, options }
    }
}

impl Batches for TextBatches<'_> {
    fn steps(&self, epoch: usize) -> Box<dyn Iterator<Item = Groups> + Send + '_> {
        let TrainingOptions { seed, batch_tokens, accumulation_steps, .. } = *self.options;
        let key = Key::new(seed, Stream::Shuffle).child(epoch as u64);
        let batches = shuffled(&self.lengths, batch_tokens, key);
        let steps: Vec<Groups> = batches.chunks(accumulation_steps).map(<[_]>::to_vec).collect();
        Box::new(steps.into_iter())
    }

    fn tokens(&self, batch: &[usize]) -> usize {
        batch.iter().map(|&text| self.lengths[text]).sum()
    }

    fn tokens_of_epoch(&self) -> usize {
        self.n_tokens
    }
}
