//! What a run of pretraining takes at its peak, foretold from shapes: in bytes, beside what the process holds before.

use super::activations::{PassRows, VALUE, inference_bytes, packed_weights, training_bytes};
use super::learner::Learner;
use super::memory::{MemoryEstimate, SLACK, scratch};
use super::plan::Plan;
use super::pretraining_options::PretrainOptions;
use super::pretraining_setup::{Documents, Setup};
use crate::backbone::Config;
use crate::error::Result;
use crate::kernels::vocabulary_loss;
use crate::objective::LanguageObjective;

/// The peak of [`super::pretrain`] with the same arguments. What the model keeps from one question to the next is given up,
/// as it is there.
pub fn estimate_pretraining<M: Learner>(
    model: &M,
    train: Documents,
    eval: Option<Documents>,
    options: &PretrainOptions,
) -> Result<MemoryEstimate> {
    let Setup { strategy, train, eval, .. } = Setup::new(model.backbone(), train, eval, options)?;
    model.forget_networks();
    let plan = Plan::of_learner(&strategy, model, &options.objective);
    let learnt = VALUE * plan.trainable_count();

    let (mut n_steps, mut tokens, mut remembered) = (0, 0, 0);
    for step in train.steps(0, options) {
        n_steps += 1;
        for blocks in &step {
            (tokens, remembered) = (tokens.max(train.tokens(blocks)), remembered.max(train.remembered(blocks)));
        }
    }
    let eval_batches = eval.as_ref().map(|eval| (eval, eval.by_length(options.batch_tokens)));
    let eval_tokens = eval_batches.iter().flat_map(|(eval, all)| all.iter().map(|blocks| eval.tokens(blocks))).max();
    let first_kept = options.eval_every.unwrap_or(n_steps);
    let total = options.max_steps.unwrap_or(options.epochs * n_steps);

    let frozen = plan.encoder_is_frozen(&model.backbone().config);
    let work = Work { options, tokens, remembered, frozen };
    let configs = model.transformers();
    let widest = |of: &dyn Fn(&Config) -> usize| configs.iter().map(|config| of(config)).max().unwrap_or(0);
    let mut memory = MemoryEstimate {
        trainable: learnt,
        gradients: learnt,
        optimizer: 2 * learnt,
        kept: if total > first_kept { learnt } else { 0 },
        activations: configs.iter().map(|config| work.activations(config)).sum::<usize>() + work.memory(configs[0]),
        scratch: widest(&|config| scratch(config, options.precision, tokens)),
        allocator: SLACK,
        ..MemoryEstimate::default()
    };
    // The loss comes before the topmost layer's backward, which takes its place.
    memory.loss = work.loss(configs[0]).saturating_sub(work.top_layer(configs[0]) + memory.scratch);
    let pass = |tokens| {
        let networks = configs.iter().map(|config| packed_weights(config, options.precision)).sum::<usize>();
        networks + widest(&|config| inference_bytes(config, options.precision, tokens)) + work.loss(configs[0])
    };
    let step = memory.activations + memory.scratch + memory.loss;
    memory.evaluation = eval_tokens.map_or(0, pass).saturating_sub(step);
    Ok(memory)
}

/// The largest batch.
struct Work<'a> {
    options: &'a PretrainOptions,
    tokens: usize,
    /// Of the batch before.
    remembered: usize,
    /// Whether layers keep nothing.
    frozen: bool,
}

impl Work<'_> {
    /// Tokens that are asked for.
    fn asked(&self) -> usize {
        let part = |rate: f64| (self.tokens as f64 * rate).ceil() as usize;
        match self.options.objective {
            LanguageObjective::Causal { .. } => self.tokens,
            LanguageObjective::Masked { rate, .. } | LanguageObjective::Replaced { rate, .. } => part(rate),
            LanguageObjective::Permutation { .. } => part(1.0 / 6.0),
        }
    }

    fn activations(&self, config: &Config) -> usize {
        let PretrainOptions { precision, recompute, max_length, .. } = *self.options;
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
        training_bytes(config, precision, recompute, rows)
    }

    /// What is remembered of the batch before, and of this one for the next.
    fn memory(&self, config: &Config) -> usize {
        2 * VALUE * config.num_hidden_layers * config.hidden_size * self.remembered
    }

    /// What the head and the loss take at once: asked rows, once more, their gradient, and a block of logits, twice packed.
    fn loss(&self, config: &Config) -> usize {
        3 * VALUE * config.hidden_size * self.asked() + 3 * vocabulary_loss::BLOCK_BYTES
    }

    /// What the backward of the topmost layer takes first.
    fn top_layer(&self, config: &Config) -> usize {
        VALUE * config.feed_forward.size * self.tokens
    }
}
