//! Memory in bytes that a pass through a transformer needs besides the parameters, estimated from shapes.
//!
//! Notation: hidden size `D`, feed-forward size `F`, `H` heads, `L` layers; a row is one token. Each layer keeps for
//! its backward, per row: queries, keys, values and the attention output, `4 D`, and the feed-forward network before
//! and after its activation, `2 F`, and after its dropout if it has one, all in bf16 if matrix products run in bf16;
//! the two projections and the outputs of the two norms, `4 D`, the log-sum-exps, `H`, and the norms' moments, `4`, in
//! f32. If keys and queries cover different rows, the key rows are gathered, `D` more; norms of queries and keys take
//! both in f32 and keep them. The peak is where the backward of the topmost layer begins: one more gradient of width
//! `F`, after two of width `D` have been freed.

use crate::backbone::{Config, ScorePositions};
use crate::matmul::Precision;

/// Bytes of an f32 value.
pub(super) const VALUE: usize = 4;

/// Number of rows that go through the layers of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassRows {
    pub queries: usize,
    pub keys: usize,
    /// Rows of the relative-position table, one for each distance.
    pub distances: usize,
}

impl PassRows {
    /// Rows for `tokens` tokens in sequences of at most `longest` tokens, without memory of a previous segment.
    pub fn of_tokens(tokens: usize, longest: usize) -> Self {
        Self { queries: tokens, keys: tokens, distances: 2 * longest }
    }
}

/// Bytes of activations at the peak of a training step that has gradients in the topmost `layers` layers.
pub(super) fn training_bytes(
    config: &Config,
    precision: Precision,
    recompute: bool,
    rows: PassRows,
    layers: usize,
) -> usize {
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
    // Around the layers: the embedding sum, its norm, its dropout output and the moments; then the gradient.
    let around = rows.queries * VALUE * (3 * d + 2 + f);
    // With recomputation every layer keeps only its input, and one layer at a time keeps everything.
    let kept = layers.saturating_sub(1) * VALUE * d * rows.queries + layer;
    around + if recompute { kept } else { layers * layer }
}

/// Bytes of one layer in a pass without gradients over `tokens` tokens.
pub(super) fn inference_bytes(config: &Config, precision: Precision, tokens: usize) -> usize {
    let inner = inner_values(config) - config.feed_forward.size;
    tokens * ((head_values(config) + inner) * operand_bytes(precision) + VALUE * 5 * config.hidden_size)
}

/// Bytes of the packed weights of linear layers that stay as they are, `values` of them: in bf16 for both directions, in
/// f32 for one, as the gradient reads them in place.
pub(super) fn packed_once(values: usize, precision: Precision) -> usize {
    let directions = if precision == Precision::F32 { 1 } else { 2 };
    directions * precision.bytes() * values
}

/// Bytes of the encoder's packed weight matrices.
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

/// Number of vectors that a layer computes for each relative distance.
fn vectors_of_distances(config: &Config) -> usize {
    match &config.attention.positions {
        ScorePositions::TransformerXl { .. } => 1,
        ScorePositions::Disentangled(options) => options.terms() - 1,
        ScorePositions::None | ScorePositions::Rotary(_) | ScorePositions::Bias(_) => 0,
    }
}

/// Values per row that are inputs or outputs of attention's matrix products.
fn head_values(config: &Config) -> usize {
    2 * config.attention.head_size * (config.attention.heads + config.attention.key_heads)
}

/// Values per row that only the feed-forward network's matrix products use.
fn inner_values(config: &Config) -> usize {
    let maps = if config.feed_forward.gated { 3 } else { 2 };
    maps * config.feed_forward.size
}

/// Bytes of a value that only matrix products use: 2 in bf16, else 4.
fn operand_bytes(precision: Precision) -> usize {
    if precision == Precision::Bf16 { VALUE / 2 } else { VALUE }
}
