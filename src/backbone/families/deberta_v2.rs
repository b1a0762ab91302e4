//! DeBERTa v2 and v3 (He et al. 2020, 2021), as `transformers.DebertaV2Model` (5.x): BERT with disentangled attention,
//! whose scores have terms by distance, from vectors that all layers share.

use serde_json::Value;

use super::bert;
use crate::backbone::buckets::VectorBuckets;
use crate::backbone::config::Config;
use crate::backbone::family::{Dense, Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::positions::{Disentangled, ScorePositions};
use crate::ops::activation::Activation;

pub(in crate::backbone) const DEBERTA_V2: Family = Family {
    name: "deberta-v2",
    model_types: &[("deberta-v2", "DebertaV2")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names {
        prefix: "deberta.",
        query: Part::whole("attention.self.query_proj"),
        key: Part::whole("attention.self.key_proj"),
        value: Part::whole("attention.self.value_proj"),
        distance_table: "encoder.rel_embeddings",
        distance_norm: "encoder.LayerNorm",
        distance_key: "attention.self.pos_key_proj",
        distance_query: "attention.self.pos_query_proj",
        pretraining_heads: &["cls", "lm_predictions", "mask_predictions", "pooler"],
        buffers: &["embeddings.position_ids", "embeddings.position_embeddings.weight"],
        ..bert::NAMES
    },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    fields.only("conv_kernel_size", 0)?;
    fields.without_effect(&["conv_act", "conv_groups", "padding_idx"]);
    let mut config = bert::encoder(fields, &DEBERTA_V2, "hidden_act", Activation::Gelu)?;
    let (hidden_size, dropout) = (config.hidden_size, config.embedding.dropout);
    fields.only("embedding_size", hidden_size)?;
    fields.only("attention_head_size", config.attention.head_size)?;
    fields.only("pooler_hidden_size", hidden_size)?;
    config.norm.eps = fields.positive("layer_norm_eps", 1e-7)?;
    config.embedding.segments = fields.count_or("type_vocab_size", 0)?;
    if !fields.flag_or("position_biased_input", true)? {
        config.embedding.positions = None;
    }
    config.attention.positions = ScorePositions::Disentangled(disentangled(fields, config.max_length)?);
    let classifier_dropout = fields.dropout("cls_dropout", dropout)?;
    config.sequence_classifier = HeadOptions {
        dense: Some(Dense {
            name: "pooler.dense",
            size: hidden_size,
            activation: fields.activation("pooler_hidden_act", Activation::Gelu)?,
            bias: true,
        }),
        first_dropout: fields.dropout("pooler_dropout", 0.0)?,
        last_dropout: classifier_dropout,
        ..config.sequence_classifier
    };
    let activation = config.feed_forward.activation;
    let dense = |name| Some(Dense { name, size: hidden_size, activation, bias: true });
    config.language_head = if fields.flag_or("legacy", true)? {
        HeadOptions {
            dense: dense("cls.predictions.transform.dense"),
            norm: "cls.predictions.transform.LayerNorm",
            output: "cls.predictions.decoder",
            output_bias: config.language_head.bias_of("cls.predictions.bias", "cls.predictions.decoder.bias"),
            ..config.language_head
        }
    } else {
        HeadOptions {
            dense: dense("lm_predictions.lm_head.dense"),
            norm: "lm_predictions.lm_head.LayerNorm",
            output_bias: "lm_predictions.lm_head.bias",
            // Its weight is that of the word embeddings, whatever tie_word_embeddings says.
            tied: true,
            ..config.language_head
        }
    };
    Ok(config)
}

fn disentangled(fields: &Fields, max_positions: usize) -> Checked<Disentangled> {
    if !fields.flag_or("relative_attention", false)? {
        return Err("relative_attention is false or missing; supported: true".into());
    }
    let types = match fields.value("pos_att_type") {
        None => Vec::new(),
        Some(Value::String(types)) => types.split('|').map(|t| t.trim().to_lowercase()).collect(),
        Some(types) => serde_json::from_value(types.clone())
            .map_err(|_| format!("pos_att_type is {types}; expected \"p2c|c2p\" or a list of both"))?,
    };
    if let Some(other) = types.iter().find(|t| !["c2p", "p2c"].contains(&t.as_str())) {
        return Err(format!("pos_att_type has {other:?}; supported: \"c2p\", \"p2c\""));
    }
    if types.is_empty() {
        return Err("pos_att_type is empty, so that nothing is relative; expected \"p2c|c2p\" or one of both".into());
    }
    let has = |name: &str| types.iter().any(|t| t == name);
    let norms = fields.text("norm_rel_ebd")?.unwrap_or("none").to_lowercase();
    let normed = match norms.split('|').map(str::trim).collect::<Vec<_>>()[..] {
        ["none"] => false,
        ["layer_norm"] => true,
        _ => return Err(format!("norm_rel_ebd is {norms:?}; expected \"none\" or \"layer_norm\"")),
    };
    let whole = |name| match fields.number_or(name, -1.0)? {
        number if number.fract() == 0.0 => Ok(number as i64),
        number => Err(format!("{name} is {number}; expected a whole number")),
    };
    let (relative, buckets) = (whole("max_relative_positions")?, whole("position_buckets")?);
    let relative = if relative < 1 { max_positions } else { relative as usize };
    let buckets = if buckets > 0 {
        let half = buckets as usize / 2;
        // Distances beyond half of the buckets are bucketed by their logarithm, up to the farthest.
        if buckets < 4 || relative <= half + 1 && max_positions > half + 1 {
            return Err(format!(
                "position_buckets is {buckets}, for {relative} relative positions of {max_positions}; expected 4 or more, and \
                 relative positions that go beyond half of them"
            ));
        }
        VectorBuckets { span: buckets as usize, farthest: Some(relative) }
    } else {
        VectorBuckets { span: relative, farthest: None }
    };
    if buckets.span > 1 << 16 {
        return Err(format!("asks for vectors of {} distances; at most 65536 are supported", buckets.span));
    }
    Ok(Disentangled {
        buckets,
        content_to_position: has("c2p"),
        position_to_content: has("p2c"),
        shared_maps: fields.flag_or("share_att_key", false)?,
        normed,
    })
}
