//! What a classifier learns from: tokens, or what a frozen encoder makes of them.

use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Mode, Parameters, collect_rows};
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::head::ClassifierNetwork;
use crate::ops::embedding::embedding;
use crate::text::Encodings;

/// Texts, and, below a frozen encoder, what it made of them once.
pub struct Inputs<'a> {
    pub encodings: &'a Encodings,
    /// The pooled last hidden states of what is classified, `[N, k D]`.
    features: Option<Value>,
}

impl<'a> Inputs<'a> {
    pub fn new(encodings: &'a Encodings) -> Self {
        Self { encodings, features: None }
    }

    /// Keep what a network of these parameters makes of all texts below its head, `[N, width]`, without dropout.
    pub fn precompute(
        &mut self,
        network: &ClassifierNetwork,
        (width, params): (usize, &Parameters),
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let forward = |batch: &PackedBatch| network.pooled(batch, Mode::inference());
        let rows = collect_rows(self.encodings, batch_tokens, (width, params), &forward, progress)?;
        self.features = Some(Value::constant(Array::new(rows, (self.encodings.n_items(), width))?));
        Ok(())
    }

    /// What there is to classify in these texts.
    pub fn items(&self, examples: &[usize]) -> Vec<usize> {
        examples.iter().flat_map(|&example| self.encodings.items(example)).collect()
    }

    /// Logits `[N, C]` of what is classified in the texts `examples`.
    pub fn logits(&self, network: &ClassifierNetwork, examples: &[usize], mode: Mode) -> Result<Value> {
        let Some(features) = &self.features else {
            return network.logits(&PackedBatch::collate(self.encodings, examples.to_vec()), mode);
        };
        let rows = self.items(examples).into_iter().map(|item| item as u32).collect();
        network.head.forward(&embedding(features, rows)?, mode)
    }
}
