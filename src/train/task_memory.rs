//! Peak memory of training a task, estimated from shapes.

use super::activations::{PassRows, VALUE, inference_bytes, packed_once, packed_weights, training_bytes};
use super::batches::TextBatches;
use super::length::RunLength;
use super::memory::{MemoryEstimate, scratch};
use super::options::TaskOptions;
use super::plan::Plan;
use crate::backbone::{Backbone, Level};
use crate::error::Result;

/// Peak memory of [`super::fit`] on texts with these lengths in tokens. Frees the backbone's cached encoder, as `fit`
/// does.
pub fn estimate_fit(
    backbone: &Backbone,
    lengths: &[usize],
    held_out: Option<&[usize]>,
    options: &TaskOptions,
) -> Result<MemoryEstimate> {
    options.check()?;
    backbone.forget_encoder();
    let TaskOptions { task, training } = options;
    let head = &*task.head;
    let plan = Plan::of_task((&training.strategy, &training.optimizer), backbone, task)?;
    let run = RunLength::of(&TextBatches::new(lengths.to_vec(), training), training, &mut || Ok(()))?;
    let (config, precision, c) = (&backbone.config, training.precision, head.n_outputs());
    let tokens = largest_batch(lengths, training.batch_tokens);
    let eval_tokens = held_out.map_or(0, |held_out| largest_batch(held_out, training.batch_tokens));
    // There are at most as many words as tokens.
    let items = |lengths: &[usize]| if head.level() == Level::Words { lengths.iter().sum() } else { lengths.len() };
    let in_batch = (tokens * items(lengths)).div_ceil(lengths.iter().sum::<usize>().max(1));
    let forward = packed_weights(config, precision) + inference_bytes(config, precision, tokens.max(eval_tokens));
    // Logits, their gradient and the targets.
    let loss = 3 * VALUE * in_batch * c;
    let of_run = MemoryEstimate::of_run(&plan, training, &run);
    if plan.encoder_is_frozen(config) {
        let d = config.hidden_size * head.layers(config).pooling.len();
        let features = items(lengths) + held_out.map_or(0, items) + 6 * in_batch;
        // The encoder's passes are over before the head is trained.
        return Ok(MemoryEstimate { activations: VALUE * d * features, loss, evaluation: forward, ..of_run });
    }
    let rows = PassRows::of_tokens(tokens, lengths.iter().copied().max().unwrap_or(0));
    let kept = VALUE * tokens * plan.kept_by_adapters(config);
    let activations =
        kept + training_bytes(config, precision, training.recompute, rows, plan.layers_with_gradients(config));
    let scratch = scratch(config, precision, tokens) + packed_once(plan.frozen_map_values(config), precision);
    let without_gradients = forward + held_out.map_or(0, |held_out| VALUE * items(held_out) * c);
    let evaluation = without_gradients.saturating_sub(activations + scratch + loss);
    Ok(MemoryEstimate { activations, scratch, loss, evaluation, ..of_run })
}

/// Number of tokens in the largest batch: the budget, or less if all texts have fewer, or more if one text is longer.
fn largest_batch(lengths: &[usize], budget: usize) -> usize {
    budget.min(lengths.iter().sum()).max(lengths.iter().copied().max().unwrap_or(0))
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
