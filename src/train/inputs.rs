//! What a model learns from: tokens, or what a frozen encoder makes of them.

use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Mode, Parameters, collect_rows};
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::head::TaskNetwork;
use crate::ops::embedding::embedding;
use crate::text::Encodings;

/// Texts, and, below a frozen encoder, what it made of them once.
pub struct Inputs<'a> {
    pub encodings: &'a Encodings,
    /// The pooled last hidden states of texts or words, `[N, k D]`.
    features: Option<Value>,
}

impl<'a> Inputs<'a> {
    pub fn new(encodings: &'a Encodings) -> Self {
        Self { encodings, features: None }
    }

    /// Keep what a network of these parameters makes of all texts below its head, `[N, width]`, without dropout.
    pub fn precompute(
        &mut self,
        network: &TaskNetwork,
        (width, params): (usize, &Parameters),
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let forward = |batch: &PackedBatch| network.pooled(batch, Mode::inference());
        let rows = collect_rows(self.encodings, batch_tokens, (width, params), &forward, progress)?;
        self.features = Some(Value::constant(Array::new(rows, (self.encodings.n_items(), width))?));
        Ok(())
    }

    /// What there is to say something of in these texts.
    pub fn items(&self, examples: &[usize]) -> Vec<usize> {
        examples.iter().flat_map(|&example| self.encodings.items(example)).collect()
    }

    /// What the head takes of the texts `examples`, `[N, k D]`.
    pub fn pooled(&self, network: &TaskNetwork, examples: &[usize], mode: Mode) -> Result<Value> {
        let Some(features) = &self.features else {
            return network.pooled(&PackedBatch::collate(self.encodings, examples.to_vec()), mode);
        };
        embedding(features, self.items(examples).into_iter().map(|item| item as u32).collect())
    }
}
