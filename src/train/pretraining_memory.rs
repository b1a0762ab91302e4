//! Peak memory of pretraining, estimated from shapes.

use super::activations::{PassRows, VALUE, inference_bytes, packed_once, packed_weights, training_bytes};
use super::batches::Batches;
use super::length::{COUNTED, RunLength};
use super::memory::{MemoryEstimate, scratch};
use super::options::PretrainingOptions;
use super::plan::Plan;
use super::pretrainable::Pretrainable;
use super::pretraining_data::{Data, Documents};
use crate::backbone::Config;
use crate::error::Result;
use crate::objective::LanguageObjective;
use crate::ops::vocabulary_loss;

/// Peak memory of [`super::pretrain`] with the same arguments. Frees the model's cached networks, as pretraining does.
pub fn estimate_pretraining<M: Pretrainable>(
    model: &M,
    documents: Documents,
    held_out: Option<Documents>,
    options: &PretrainingOptions,
) -> Result<MemoryEstimate> {
    let data = |documents| Data::new(documents, model.backbone(), options);
    let (train, held_out) = (data(documents)?, held_out.map(data).transpose()?);
    model.forget_networks();
    let training = &options.training;
    let plan = Plan::of_pretraining(model, options)?;
    let run = RunLength::of(&train, training, &mut || Ok(()))?;
    // Look at as many steps as [`RunLength`] counts; a larger corpus hardly has larger batches.
    let (mut tokens, mut remembered) = (0, 0);
    for blocks in train.steps(0).take(COUNTED).flatten() {
        (tokens, remembered) = (tokens.max(train.tokens(&blocks)), remembered.max(train.remembered(&blocks)));
    }
    let eval_batches = held_out.as_ref().map(|data| (data, data.by_length()));
    let eval_tokens = eval_batches.iter().flat_map(|(data, all)| all.iter().map(|blocks| data.tokens(blocks))).max();

    let config = &model.backbone().config;
    let (frozen, layers) = (plan.encoder_is_frozen(config), plan.layers_with_gradients(config));
    let work = Work { options, tokens, remembered, frozen, layers };
    let (configs, precision) = (model.transformers(), training.precision);
    let widest = |of: &dyn Fn(&Config) -> usize| configs.iter().map(|config| of(config)).max().unwrap_or(0);
    // The memory from the previous batch and the memory for the next.
    let memory = 2 * VALUE * configs[0].num_hidden_layers * configs[0].hidden_size * remembered;
    let activations = memory + configs.iter().map(|config| work.activations(config)).sum::<usize>();
    let packed = if frozen { 0 } else { packed_once(plan.frozen_map_values(config), precision) };
    let scratch = packed + widest(&|config| scratch(config, precision, tokens));
    // The loss is computed before the backward of the topmost layer, which reuses its memory.
    let top_layer = VALUE * configs[0].feed_forward.size * tokens;
    let loss = work.loss(configs[0]).saturating_sub(top_layer + scratch);
    let pass = |tokens| {
        let networks = configs.iter().map(|config| packed_weights(config, precision)).sum::<usize>();
        networks + widest(&|config| inference_bytes(config, precision, tokens)) + work.loss(configs[0])
    };
    let evaluation = eval_tokens.map_or(0, pass).saturating_sub(activations + scratch + loss);
    Ok(MemoryEstimate { activations, scratch, loss, evaluation, ..MemoryEstimate::of_run(&plan, training, &run) })
}

/// The largest batch of a run.
struct Work<'a> {
    options: &'a PretrainingOptions,
    tokens: usize,
    /// Number of tokens carried over from the previous batch.
    remembered: usize,
    /// True if the encoder is frozen, so that its layers keep nothing for a backward.
    frozen: bool,
    /// The number of topmost layers in which a step computes gradients.
    layers: usize,
}

impl Work<'_> {
    /// Number of predicted tokens.
    fn asked(&self) -> usize {
        let part = |rate: f64| (self.tokens as f64 * rate).ceil() as usize;
        match self.options.objective {
            LanguageObjective::Causal { .. } => self.tokens,
            LanguageObjective::Masked { rate, .. } | LanguageObjective::Replaced { rate, .. } => part(rate),
            LanguageObjective::Permutation { .. } => part(1.0 / 6.0),
        }
    }

    fn activations(&self, config: &Config) -> usize {
        let PretrainingOptions { training, max_length, .. } = self.options;
        let (precision, recompute, max_length) = (training.precision, training.recompute, *max_length);
        if self.frozen {
            let remembered = if self.remembered > 0 { config.num_hidden_layers } else { 0 };
            return packed_weights(config, precision)
                + inference_bytes(config, precision, self.tokens)
                + VALUE * remembered * config.hidden_size * (self.tokens + self.asked());
        }
        let mut rows = PassRows::of_tokens(self.tokens, max_length.min(self.tokens));
        if let LanguageObjective::Permutation { memory } = self.options.objective {
            rows.queries += self.asked();
            rows.keys += self.remembered;
            rows.distances += if self.remembered > 0 { memory.unwrap_or(max_length) } else { 0 };
        }
        training_bytes(config, precision, recompute, rows, self.layers.min(config.num_hidden_layers))
    }

    /// Bytes that the head and the loss need at once: the hidden states of the predicted tokens, a second copy, their
    /// gradient, and a block of logits with two packed copies.
    fn loss(&self, config: &Config) -> usize {
        3 * VALUE * config.hidden_size * self.asked() + 3 * vocabulary_loss::BLOCK_BYTES
    }
}
