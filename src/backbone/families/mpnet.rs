//! MPNet (Song et al. 2020), as `transformers.MPNetModel` (5.x): BERT with RoBERTa's positions and head, without
//! segments, and with a bias per distance bucket and head that all layers share.

use super::{bert, roberta};
use crate::backbone::buckets::BiasBuckets;
use crate::backbone::config::Config;
use crate::backbone::family::{Family, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::positions::{LearnedPositions, ScorePositions};
use crate::ops::activation::Activation;

pub(in crate::backbone) const MPNET: Family = Family {
    name: "mpnet",
    model_types: &[("mpnet", "MPNet")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names {
        prefix: "mpnet.",
        segment_embeddings: "",
        query: Part::whole("attention.attn.q"),
        key: Part::whole("attention.attn.k"),
        value: Part::whole("attention.attn.v"),
        attention_output: "attention.attn.o",
        attention_norm: "attention.LayerNorm",
        distance_table: "encoder.relative_attention_bias",
        pooler: "pooler.dense",
        pretraining_heads: &["lm_head"],
        ..bert::NAMES
    },
};

/// The padding id from which transformers counts positions, whatever `pad_token_id` says.
const PADDING: u32 = 1;
/// Bucket numbers that transformers fixes in its code, without a configuration field.
const BUCKETS: usize = 32;
const FARTHEST: usize = 128;

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    fields.only("type_vocab_size", 0)?;
    let mut config = bert::encoder(fields, &MPNET, "hidden_act", Activation::Gelu)?;
    let (rows, first) = (config.max_length, PADDING as usize + 1);
    if first >= rows {
        return Err(format!("max_position_embeddings is {rows}, of which positions begin at {first}"));
    }
    config.embedding.positions = Some(LearnedPositions { rows, first, padding: Some(PADDING) });
    config.embedding.segments = 0;
    config.max_length = rows - first;
    let biases = fields.count_or("relative_attention_num_buckets", BUCKETS)?;
    if !(BUCKETS..=1 << 10).contains(&biases) {
        return Err(format!("relative_attention_num_buckets is {biases}; expected {BUCKETS} to 1024"));
    }
    config.attention.positions =
        ScorePositions::Bias(BiasBuckets { rows: biases, buckets: BUCKETS, farthest: FARTHEST });
    let dropout = config.embedding.dropout;
    roberta::two_layer_heads(&mut config, dropout);
    Ok(config)
}
