//! Inputs of a model: tokens, or precomputed features of a frozen encoder.

use crate::array::Array;
use crate::autograd::Var;
use crate::backbone::{Mode, Parameters, collect_rows};
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::head::TaskNetwork;
use crate::ops::embedding::embedding;
use crate::text::Encodings;

/// Tokenised texts and, if the encoder is frozen, their features, computed once.
pub struct Inputs<'a> {
    pub encodings: &'a Encodings,
    /// Pooled last hidden states of all texts or words, `[N, k D]`.
    features: Option<Var>,
}

impl<'a> Inputs<'a> {
    pub fn new(encodings: &'a Encodings) -> Self {
        Self { encodings, features: None }
    }

    /// Compute and keep the pooled features of all texts below the head, `[N, width]`, without dropout.
    pub fn precompute(
        &mut self,
        network: &TaskNetwork,
        (width, params): (usize, &Parameters),
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let forward = |batch: &PackedBatch| network.pooled(batch, Mode::inference());
        let rows = collect_rows(self.encodings, batch_tokens, (width, params), &forward, progress)?;
        self.features = Some(Var::constant(Array::new(rows, (self.encodings.n_items(), width))?));
        Ok(())
    }

    /// Indices of the items (texts or words) of these texts.
    pub fn items(&self, examples: &[usize]) -> Vec<usize> {
        examples.iter().flat_map(|&example| self.encodings.items(example)).collect()
    }

    /// Inputs of the head for the texts `examples`, `[N, k D]`.
    pub fn pooled(&self, network: &TaskNetwork, examples: &[usize], mode: Mode) -> Result<Var> {
        let Some(features) = &self.features else {
            return network.pooled(&PackedBatch::collate(self.encodings, examples.to_vec()), mode);
        };
        embedding(features, self.items(examples).into_iter().map(|item| item as u32).collect())
    }
}
