//! The examples of each optimiser step.

use super::options::TrainingOptions;
use crate::batch::shuffled;
use crate::rng::{Key, Stream};

/// The micro-batches of one optimiser step, each a list of example indices: texts, or blocks of a corpus.
pub(super) type Groups = Vec<Vec<usize>>;

/// The batches of a run, fully determined by its options and seed.
pub(super) trait Batches: Sync {
    /// The optimiser steps of an epoch; the last may have fewer micro-batches.
    fn steps(&self, epoch: usize) -> Box<dyn Iterator<Item = Groups> + Send + '_>;
    /// Number of tokens in a batch.
    fn tokens(&self, batch: &[usize]) -> usize;
    /// Number of tokens in an epoch.
    fn tokens_of_epoch(&self) -> usize;
}

/// Batches of texts of similar length.
pub(super) struct TextBatches<'a> {
    /// Number of tokens of each text, and their sum.
    lengths: Vec<usize>,
    n_tokens: usize,
    options: &'a TrainingOptions,
}

impl<'a> TextBatches<'a> {
    /// Batches of texts with these lengths in tokens.
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
