//! What a run takes at its peak, foretold from shapes: in bytes, beside what the process holds before.

use super::activations::VALUE;
use super::length::RunLength;
use super::options::TrainingOptions;
use super::plan::Plan;
use crate::backbone::Config;
use crate::product::Precision;

/// Blocks below the allocator's large ones, and pages between blocks: measured, not derived (`make test-machine`).
const SLACK: usize = 16 << 20;

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

impl MemoryEstimate {
    /// Of a run of this length that trains by this plan, without its passes.
    pub(super) fn of_run(plan: &Plan, options: &TrainingOptions, run: &RunLength) -> Self {
        let learnt = VALUE * plan.trainable_count();
        // Weights are kept beside those that learn further.
        let keeps = run.steps > options.eval_every.unwrap_or(run.steps_per_epoch);
        let kept = if keeps { learnt } else { 0 };
        Self { trainable: learnt, gradients: learnt, optimizer: 2 * learnt, kept, allocator: SLACK, ..Self::default() }
    }
}

/// Bytes of the packed operand of the largest product.
pub(super) fn scratch(config: &Config, precision: Precision, rows: usize) -> usize {
    precision.bytes() * config.feed_forward.size * rows.max(config.hidden_size)
}
