//! ALBERT (Lan et al. 2019): BERT with narrow embeddings, and layers that share parameters in groups.

use super::bert;
use crate::backbone::config::Config;
use crate::backbone::family::{Dense, Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::ops::activation::Activation;

pub(in crate::backbone) const ALBERT: Family = Family {
    name: "albert",
    model_types: &[("albert", "Albert")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names {
        prefix: "albert.",
        embedding_projection: "encoder.embedding_hidden_mapping_in",
        layer: "encoder.albert_layer_groups.{}.albert_layers.0",
        query: Part::whole("attention.query"),
        key: Part::whole("attention.key"),
        value: Part::whole("attention.value"),
        attention_output: "attention.dense",
        attention_norm: "attention.LayerNorm",
        up: Part::whole("ffn"),
        down: "ffn_output",
        feed_forward_norm: "full_layer_layer_norm",
        pooler: "pooler",
        pretraining_heads: &["predictions", "sop_classifier"],
        ..bert::NAMES
    },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    fields.only("inner_group_num", 1)?;
    let mut config = bert::encoder(fields, &ALBERT, "hidden_act", Activation::GeluTanh)?;
    let hidden = config.hidden_size;
    let dropout = fields.dropout("hidden_dropout_prob", 0.0)?;
    config.embedding.dropout = dropout;
    config.attention.output_dropout = dropout;
    config.attention.dropout = fields.dropout("attention_probs_dropout_prob", 0.0)?;
    config.feed_forward.dropout = 0.0;
    config.layer_groups = fields.count_or("num_hidden_groups", 1)?;
    config.embedding.size = fields.count_or("embedding_size", 128)?;
    config.embedding.projected = true;
    let dense = |name, size, activation| Some(Dense { name, size, activation, bias: true });
    config.sequence_classifier = HeadOptions {
        dense: dense(ALBERT.names.pooler, hidden, Activation::Tanh),
        last_dropout: fields.dropout("classifier_dropout_prob", 0.1)?,
        ..config.sequence_classifier
    };
    config.token_classifier.last_dropout = config.sequence_classifier.last_dropout;
    config.language_head = HeadOptions {
        dense: dense("predictions.dense", config.embedding.size, config.feed_forward.activation),
        norm: "predictions.LayerNorm",
        output: "predictions.decoder",
        output_bias: config.language_head.bias_of("predictions.bias", "predictions.decoder.bias"),
        ..config.language_head
    };
    fields.without_effect(&["down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks"]);
    Ok(config)
}
