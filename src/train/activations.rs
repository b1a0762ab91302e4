//! What a pass through a transformer takes beside parameters, in bytes, foretold from shapes.
//!
//! With rows of width `D`, feed-forward width `F`, `H` heads and `L` layers. What a layer keeps for its backward, per row:
//! queries, keys, values and what attention made of them, `4 D`, and the feed-forward net before and after its activation,
//! `2 F`, and after its dropout if it has one, in bf16 if products are; the two projections and the two norms' outputs,
//! `4 D`, log-sum-exps, `H`, and moments, `4`, in f32. Keys may be of other rows than queries are, which are then gathered,
//! `D`; norms of queries and keys take both in f32 and keep them. The peak is where the backward of the topmost layer begins:
//! one gradient `F` more, for which two of width `D` have gone.

use crate::backbone::{Config, ScorePositions};
use crate::product::Precision;

/// Bytes of a value.
pub(super) const VALUE: usize = 4;

/// Rows that go through the layers of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassRows {
    pub queries: usize,
    pub keys: usize,
    /// Rows that attention has for distances.
    pub distances: usize,
}

impl PassRows {
    /// Of `tokens` that attend to each other, `longest` of them in a sequence.
    pub fn of_tokens(tokens: usize, longest: usize) -> Self {
        Self { queries: tokens, keys: tokens, distances: 2 * longest }
    }
}

/// Bytes at the peak of a training step.
pub(super) fn training_bytes(config: &Config, precision: Precision, recompute: bool, rows: PassRows) -> usize {
    let (d, f, attention) = (config.hidden_size, config.feed_forward.size, &config.attention);
    let operand = operand_bytes(precision);
    let by_query = attention.heads * attention.head_size;
    let by_key = attention.key_heads * attention.head_size;
    let dropped = if config.feed_forward.inner_dropout > 0.0 { f } else { 0 };
    let mut layer = rows.queries
        * (operand * (2 * by_query + inner_values(config) + dropped) + VALUE * (4 * d + attention.heads + 4))
        + rows.keys * operand * 2 * by_key;
    if rows.keys != rows.queries {
        layer += rows.keys * VALUE * d;
    }
    if attention.normed {
        let narrow = rows.queries * by_query + rows.keys * by_key;
        layer += narrow * (2 * VALUE - operand) + VALUE * 2 * rows.queries * (attention.heads + attention.key_heads);
    }
    layer += vectors_of_distances(config) * rows.distances * operand * by_query;
    // The sum, its norm, what dropout left of it, and moments; the gradient.
    let around = rows.queries * VALUE * (3 * d + 2 + f);
    let layers = config.num_hidden_layers;
    // Recomputed, layers keep their inputs, and one at a time all of it.
    let kept = layers.saturating_sub(1) * VALUE * d * rows.queries + layer;
    around + if recompute { kept } else { layers * layer }
}

/// Bytes of a layer of a pass without gradients over so many tokens.
pub(super) fn inference_bytes(config: &Config, precision: Precision, tokens: usize) -> usize {
    let inner = inner_values(config) - config.feed_forward.size;
    tokens * ((head_values(config) + inner) * operand_bytes(precision) + VALUE * 5 * config.hidden_size)
}

/// Bytes of the encoder's packed matrices.
pub(super) fn packed_weights(config: &Config, precision: Precision) -> usize {
    let of_distances = match &config.attention.positions {
        ScorePositions::Disentangled(options) if !options.shared_maps => {
            vectors_of_distances(config) * config.attention.heads * config.attention.head_size
        }
        _ => 0,
    };
    let of_layer = config.hidden_size * (head_values(config) + inner_values(config) + of_distances);
    precision.bytes() * config.layer_groups * of_layer
}

/// How many vectors of each distance a layer makes.
fn vectors_of_distances(config: &Config) -> usize {
    match &config.attention.positions {
        ScorePositions::TransformerXl { .. } => 1,
        ScorePositions::Disentangled(options) => options.terms() - 1,
        ScorePositions::None | ScorePositions::Rotary(_) | ScorePositions::Bias(_) => 0,
    }
}

/// Values of each row that the products of attention take or give.
fn head_values(config: &Config) -> usize {
    2 * config.attention.head_size * (config.attention.heads + config.attention.key_heads)
}

/// Values of each row that the products of a feed-forward net alone take.
fn inner_values(config: &Config) -> usize {
    let maps = if config.feed_forward.gated { 3 } else { 2 };
    maps * config.feed_forward.size
}

/// Bytes of a value that products alone take.
fn operand_bytes(precision: Precision) -> usize {
    if precision == Precision::Bf16 { VALUE / 2 } else { VALUE }
}
