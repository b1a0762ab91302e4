//! Peak memory of a run, estimated from shapes, in bytes beyond what the process already holds.

use super::activations::VALUE;
use super::length::RunLength;
use super::options::TrainingOptions;
use super::plan::Plan;
use crate::backbone::Config;
use crate::matmul::Precision;

/// Bytes lost in the allocator to small blocks and to pages between blocks: measured, not derived (`make
/// test-machine`).
const SLACK: usize = 16 << 20;

/// Peak memory in bytes, by use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryEstimate {
    /// Copies of the trained parameters.
    pub trainable: usize,
    pub gradients: usize,
    pub optimizer: usize,
    /// A copy of the best weights so far.
    pub kept: usize,
    pub activations: usize,
    /// The packed operand of a matrix product.
    pub scratch: usize,
    pub loss: usize,
    /// Memory of an evaluation pass beyond that of a training step.
    pub evaluation: usize,
    /// Memory that the allocator holds but does not use.
    pub allocator: usize,
}

impl MemoryEstimate {
    /// Estimate for a run of this length and plan, without the memory of its passes.
    pub(super) fn of_run(plan: &Plan, options: &TrainingOptions, run: &RunLength) -> Self {
        let learnt = VALUE * plan.trainable_count();
        // A copy of the weights is kept if training continues after an evaluation.
        let keeps = run.steps > options.eval_every.unwrap_or(run.steps_per_epoch);
        let kept = if keeps { learnt } else { 0 };
        Self { trainable: learnt, gradients: learnt, optimizer: 2 * learnt, kept, allocator: SLACK, ..Self::default() }
    }
}

/// Bytes of the packed operand of the largest matrix product.
pub(super) fn scratch(config: &Config, precision: Precision, rows: usize) -> usize {
    precision.bytes() * config.feed_forward.size * rows.max(config.hidden_size)
}
