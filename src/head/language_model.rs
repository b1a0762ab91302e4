//! A backbone with the head of its language model: what it gives each token of the vocabulary.

use std::path::Path;

use super::layers::Head;
use crate::autograd::Value;
use crate::backbone::{Backbone, Config, Mode, Parameters, Spec, Transformer};
use crate::batch::PackedBatch;
use crate::compute::{in_pool, values};
use crate::error::Result;
use crate::kernels::embedding::embedding;
use crate::product::Precision;

/// A backbone and the parameters of its language-modelling head; tied weights are the backbone's.
pub struct LanguageModel {
    pub backbone: Backbone,
    head: Parameters,
}

impl LanguageModel {
    /// Read a Hugging Face directory or a GGUF file with such a head. A head the checkpoint lacks is an error.
    pub fn from_pretrained(path: &Path) -> Result<Self> {
        let (backbone, head) = Backbone::from_pretrained_with(path, Self::specs)?;
        Ok(Self { backbone, head })
    }

    /// The parameters that the backbone does not have already.
    fn specs(config: &Config) -> Vec<Spec> {
        let backbone = Transformer::specs(config);
        let mut specs = Head::specs(config, &config.language, config.vocab_size);
        specs.retain(|spec| backbone.iter().all(|own| own.name != spec.name));
        specs
    }

    /// Logits of the tokens `rows` of a batch, `[rows, vocab_size]`: for causal models of the token after each, for others of
    /// each itself.
    pub fn logits(&self, batch: &PackedBatch, rows: &[u32], precision: Precision) -> Result<Value> {
        let config = &self.backbone.config;
        let all: Parameters =
            self.backbone.params.iter().chain(self.head.iter()).map(|(n, t)| (n.to_string(), t.clone())).collect();
        let head = Head::load(&all, config, &config.language, config.vocab_size)?;
        let encoder = self.backbone.encoder(precision)?;
        in_pool(|| {
            let hidden = encoder.forward(batch, config.num_hidden_layers, Mode::inference())?;
            head.forward(&embedding(&hidden, rows.into())?, Mode::inference())
        })
    }

    /// What a causal model expects after each text: the `n` likeliest tokens, ids and probabilities.
    pub fn next_tokens(&self, texts: &[String], n: usize, precision: Precision) -> Result<Vec<Vec<(u32, f32)>>> {
        let encodings = self.backbone.encode(texts, None, None)?;
        let batch = PackedBatch::collate(&encodings, (0..texts.len()).collect());
        let logits = self.logits(&batch, &batch.last_tokens(), precision)?;
        let logits = values(logits.tensor())?;
        Ok(logits.chunks_exact(self.backbone.config.vocab_size).map(|row| likeliest(row, n)).collect())
    }
}

/// The `n` largest of `softmax(logits)`, with their positions.
fn likeliest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    order.truncate(n);
    order.into_iter().map(|id| (id, (f64::from(logits[id as usize] - max).exp() / sum) as f32)).collect()
}
