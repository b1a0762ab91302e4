//! What a run takes at its peak, foretold from shapes: in bytes, beside what the process holds before.
//!
//! With `T` tokens, width `D`, feed-forward width `F`, `H` heads and `L` layers. What a layer keeps for its backward, per
//! token: queries, keys, values and what attention made of them, `4 D`, and the feed-forward net before and after its
//! activation, `2 F`, in bf16 if products are; the two projections and the two norms' outputs, `4 D`, log-sum-exps, `H`, and
//! moments, `4`, in f32. The peak is where the backward of the topmost layer begins: one gradient `F` more, for which two of
//! width `D` have gone.

use super::batches::Batches;
use super::options::FitOptions;
use super::plan::Plan;
use super::strategy::Strategy;
use crate::backbone::{Backbone, Config, Task};
use crate::error::Result;
use crate::product::Precision;

/// Bytes of a value.
const VALUE: usize = 4;
/// Blocks below the allocator's large ones, and pages between blocks: measured, not derived.
const SLACK: usize = 16 << 20;

/// Bytes at the peak, by what holds them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
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

/// The peak of [`super::fit`] on texts of these lengths in tokens.
pub fn estimate(backbone: &Backbone, train: &[usize], eval: Option<&[usize]>, options: &FitOptions) -> Result<Memory> {
    options.check()?;
    let plan = Plan::compile(&Strategy::parse(options.strategy.clone())?, backbone, options.task, options.n_outputs);
    let (config, batches) = (&backbone.config, Batches::of(train, options, &mut || Ok(()))?);
    let (c, learnt) = (options.n_outputs, VALUE * plan.trainable_count());
    let tokens = largest_batch(train, options.batch_tokens);
    let eval_tokens = eval.map_or(0, |eval| largest_batch(eval, options.batch_tokens));
    let first_kept = options.eval_every.filter(|_| eval.is_some()).unwrap_or(batches.steps_per_epoch);
    // Of words there are tokens at most.
    let items = |lengths: &[usize]| if options.task == Task::Words { lengths.iter().sum() } else { lengths.len() };
    let in_batch = (tokens * items(train)).div_ceil(train.iter().sum::<usize>().max(1));
    let mut memory = Memory {
        trainable: learnt,
        gradients: learnt,
        optimizer: 2 * learnt,
        kept: if batches.total_steps > first_kept { learnt } else { 0 },
        // Logits, their gradient and what they are held against.
        loss: 3 * VALUE * in_batch * c,
        ..Memory::default()
    };
    let pass = packed_weights(config, options) + tokens.max(eval_tokens) * inference_bytes(config, options.precision);
    let mut without_gradients = pass + eval.map_or(0, |eval| VALUE * items(eval) * c + learnt - memory.kept);
    if plan.encoder_is_frozen(config) {
        let d = config.hidden_size;
        memory.activations = VALUE * d * (items(train) + eval.map_or(0, items) + 6 * in_batch);
        // The passes come before the head's training.
        without_gradients = pass;
    } else {
        memory.activations = tokens * training_bytes(config, options);
        memory.scratch = options.precision.bytes() * config.feed_forward.size * tokens.max(config.hidden_size);
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

/// Values of each token in a layer that products alone take: of the heads, and of the feed-forward net.
fn operand_values(config: &Config) -> [usize; 2] {
    let (attention, feed_forward) = (&config.attention, &config.feed_forward);
    let heads = 2 * attention.head_size * (attention.heads + attention.key_heads);
    [heads, if feed_forward.gated { 3 } else { 2 } * feed_forward.size]
}

/// Bytes for each token at the peak of a training step.
fn training_bytes(config: &Config, options: &FitOptions) -> usize {
    let (d, f) = (config.hidden_size, config.feed_forward.size);
    let layer = operand_values(config).iter().sum::<usize>() * operand_bytes(options.precision)
        + VALUE * (4 * d + config.attention.heads + 4);
    // The sum, its norm, what dropout left of it, and moments; the gradient.
    let around = VALUE * (3 * d + 2 + f);
    let layers = config.num_hidden_layers;
    // Recomputed, layers keep their inputs, and one at a time all of it.
    around + if options.recompute { layers.saturating_sub(1) * VALUE * d + layer } else { layers * layer }
}

/// Bytes for each token in a layer of a pass without gradients.
fn inference_bytes(config: &Config, precision: Precision) -> usize {
    let [heads, inner] = operand_values(config);
    (heads + inner - config.feed_forward.size) * operand_bytes(precision) + VALUE * 5 * config.hidden_size
}

/// Bytes of a value that products alone take.
fn operand_bytes(precision: Precision) -> usize {
    if precision == Precision::Bf16 { VALUE / 2 } else { VALUE }
}

/// Bytes of the encoder's packed matrices.
fn packed_weights(config: &Config, options: &FitOptions) -> usize {
    let [heads, _] = operand_values(config);
    let maps = if config.feed_forward.gated { 3 } else { 2 };
    let of_layer = config.hidden_size * (heads + maps * config.feed_forward.size);
    options.precision.bytes() * config.layer_groups * of_layer
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
