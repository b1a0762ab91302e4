//! What a run takes at its peak, foretold from shapes: in bytes, beside what the process holds before.

use super::activations::{PassRows, VALUE, inference_bytes, packed_weights, training_bytes};
use super::batches::Batches;
use super::options::FitOptions;
use super::plan::Plan;
use super::strategy::Strategy;
use crate::backbone::{Backbone, Config, Task};
use crate::error::Result;
use crate::product::Precision;

/// Blocks below the allocator's large ones, and pages between blocks: measured, not derived (`make test-machine`).
pub(super) const SLACK: usize = 16 << 20;

/// Bytes at the peak, by what holds them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryEstimate {
    /// Copies of the parameters that learn.
    pub trainable: usize,
    pub gradients: usize,
    pub optimizer: usize,
    /// The best weights so far.
    pub kept: usize,
    pub activations: usize,
    /// A packed operand of a product.
    pub scratch: usize,
    pub loss: usize,
    /// What a pass without gradients takes beyond a training step.
    pub evaluation: usize,
    /// What the allocator holds unused.
    pub allocator: usize,
}

/// The peak of [`super::fit`] on texts of these lengths in tokens. What the backbone keeps from one question to the next is
/// given up, as it is there.
pub fn estimate(
    backbone: &Backbone,
    train: &[usize],
    eval: Option<&[usize]>,
    options: &FitOptions,
) -> Result<MemoryEstimate> {
    options.check()?;
    backbone.forget_encoder();
    let plan = Plan::compile(&Strategy::parse(options.strategy.clone())?, backbone, options.task, options.n_outputs);
    let (config, batches) = (&backbone.config, Batches::of(train, options, &mut || Ok(()))?);
    let (c, learnt) = (options.n_outputs, VALUE * plan.trainable_count());
    let tokens = largest_batch(train, options.batch_tokens);
    let eval_tokens = eval.map_or(0, |eval| largest_batch(eval, options.batch_tokens));
    let first_kept = options.eval_every.filter(|_| eval.is_some()).unwrap_or(batches.steps_per_epoch);
    // Of words there are tokens at most.
    let items = |lengths: &[usize]| if options.task == Task::Words { lengths.iter().sum() } else { lengths.len() };
    let in_batch = (tokens * items(train)).div_ceil(train.iter().sum::<usize>().max(1));
    let mut memory = MemoryEstimate {
        trainable: learnt,
        gradients: learnt,
        optimizer: 2 * learnt,
        kept: if batches.total_steps > first_kept { learnt } else { 0 },
        // Logits, their gradient and what they are held against.
        loss: 3 * VALUE * in_batch * c,
        ..MemoryEstimate::default()
    };
    let pass =
        packed_weights(config, options.precision) + inference_bytes(config, options.precision, tokens.max(eval_tokens));
    let mut without_gradients = pass + eval.map_or(0, |eval| VALUE * items(eval) * c + learnt - memory.kept);
    if plan.encoder_is_frozen(config) {
        let d = config.hidden_size * config.head(options.task).pooling.len();
        memory.activations = VALUE * d * (items(train) + eval.map_or(0, items) + 6 * in_batch);
        // The passes come before the head's training.
        without_gradients = pass;
    } else {
        let rows = PassRows::of_tokens(tokens, train.iter().copied().max().unwrap_or(0));
        memory.activations = training_bytes(config, options.precision, options.recompute, rows);
        memory.scratch = scratch(config, options.precision, tokens);
    }
    let step = if plan.encoder_is_frozen(config) { 0 } else { memory.activations + memory.scratch + memory.loss };
    memory.evaluation = without_gradients.saturating_sub(step);
    memory.allocator = SLACK;
    Ok(memory)
}

/// Tokens of the largest batch: the budget, less if there are fewer, more if one text is longer.
fn largest_batch(lengths: &[usize], budget: usize) -> usize {
    budget.min(lengths.iter().sum()).max(lengths.iter().copied().max().unwrap_or(0))
}

/// Bytes of the packed operand of the largest product.
pub(super) fn scratch(config: &Config, precision: Precision, rows: usize) -> usize {
    precision.bytes() * config.feed_forward.size * rows.max(config.hidden_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_batch_when_texts_are_few_or_long_follows_them() {
        assert_eq!(largest_batch(&[10, 20], 100), 30);
        assert_eq!(largest_batch(&[60, 60], 100), 100);
        assert_eq!(largest_batch(&[10, 200], 100), 200);
    }
}
