//! ModernBERT (Warner et al. 2024): pre-norm, rotary positions, gated feed-forward nets, a sliding window in most
//! layers. As in transformers 5.x.

use serde_json::{Map, Value};

use super::{bert, llama};
use crate::backbone::config::{
    AttentionOptions, Capabilities, Config, EmbeddingOptions, FeedForwardOptions, Initializer, LayerOptions,
    MAX_HEAD_SIZE, MAX_LAYERS, NormOptions,
};
use crate::backbone::family::{Dense, Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::pooling::Pooling;
use crate::backbone::positions::ScorePositions;
use crate::backbone::rotary_options::RotaryOptions;
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

pub(in crate::backbone) const MODERNBERT: Family = Family {
    name: "modernbert",
    model_types: &[("modernbert", "ModernBert")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names {
        prefix: "model.",
        task_heads: &["classifier", "qa_outputs"],
        before_heads: &["head"],
        pretraining_heads: &["decoder"],
        word_embeddings: "embeddings.tok_embeddings",
        embedding_norm: "embeddings.norm",
        layer: "layers.{}",
        query: Part::one_of("attn.Wqkv", 0, 3),
        key: Part::one_of("attn.Wqkv", 1, 3),
        value: Part::one_of("attn.Wqkv", 2, 3),
        attention_output: "attn.Wo",
        attention_norm: "attn_norm",
        gate: Part::one_of("mlp.Wi", 0, 2),
        up: Part::one_of("mlp.Wi", 1, 2),
        down: "mlp.Wo",
        feed_forward_norm: "mlp_norm",
        final_norm: "final_norm",
        ..Names::NONE
    },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    let (hidden_size, layers) = (fields.count("hidden_size")?, fields.count("num_hidden_layers")?);
    let heads = fields.count("num_attention_heads")?;
    let head_size = bert::head_size(hidden_size, heads)?;
    let max_length = fields.count("max_position_embeddings")?;
    let bias = fields.flag_or("attention_bias", false)?;
    let dropout = fields.dropout("attention_dropout", 0.0)?;
    let std = fields.number_or("initializer_range", 0.02)?;
    let output_std = std / (2.0 * layers as f64).sqrt();
    let head = HeadOptions {
        dense: Some(Dense {
            name: "head.dense",
            size: hidden_size,
            activation: fields.activation("classifier_activation", Activation::Gelu)?,
            bias: fields.flag_or("classifier_bias", false)?,
        }),
        norm: "head.norm",
        last_dropout: fields.dropout("classifier_dropout", 0.0)?,
        ..HeadOptions::linear(
            match fields.text("classifier_pooling")?.unwrap_or("cls") {
                "cls" => Pooling::Cls,
                "mean" => Pooling::Mean,
                other => return Err(format!("classifier_pooling is {other:?}; supported: cls, mean")),
            },
            "classifier",
            "classifier.bias",
            (hidden_size as f64).powf(-0.5),
        )
    };
    let decoder_bias = fields.flag_or("decoder_bias", true)?;
    fields.without_effect(&[
        "deterministic_flash_attn",
        "embedding_size",
        "layer_norm_eps",
        "position_embedding_type",
        "reference_compile",
        "repad_logits_with_grad",
        "sparse_pred_ignore_index",
        "sparse_prediction",
    ]);
    Ok(Config {
        family: &MODERNBERT,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        num_hidden_layers: layers,
        layer_groups: layers,
        max_length,
        embedding: EmbeddingOptions {
            size: hidden_size,
            projected: false,
            positions: None,
            segments: 0,
            normed: true,
            dropout: fields.dropout("embedding_dropout", 0.0)?,
        },
        norm: NormOptions {
            kind: Kind::Layer,
            eps: fields.positive("norm_eps", 1e-5)?,
            bias: fields.flag_or("norm_bias", false)?,
            before: true,
            first: false,
        },
        attention: AttentionOptions {
            heads,
            key_heads: heads,
            head_size,
            bias,
            output_bias: bias,
            normed: false,
            positions: ScorePositions::Rotary(rotary(fields, head_size.min(MAX_HEAD_SIZE), max_length)?),
            dropout,
            output_dropout: dropout,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count("intermediate_size")?,
            activation: fields.activation("hidden_activation", Activation::Gelu)?,
            gated: true,
            bias: fields.flag_or("mlp_bias", false)?,
            inner_dropout: fields.dropout("mlp_dropout", 0.0)?,
            dropout: 0.0,
        },
        layers: layer_options(fields, layers.min(MAX_LAYERS))?,
        capabilities: Capabilities::MASKED,
        initializer: Initializer { std, cutoff: Some(fields.positive("initializer_cutoff_factor", 2.0)?), output_std },
        language_head: HeadOptions {
            output: "decoder",
            output_bias: if decoder_bias { "decoder.bias" } else { "" },
            tied: fields.flag_or("tie_word_embeddings", true)?,
            last_dropout: 0.0,
            std: output_std,
            ..head.clone()
        },
        token_classifier: HeadOptions { pooling: vec![Pooling::Words], ..head.clone() },
        sequence_classifier: head,
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}

/// Layers with full attention, and between them layers with a window of half of `local_attention` on each side.
fn layer_options(fields: &Fields, layers: usize) -> Checked<Vec<LayerOptions>> {
    let reach = fields.count_or("local_attention", 128)? / 2;
    let every = fields.count_or("global_attn_every_n_layers", 3)?.max(1);
    let sliding = match fields.value("layer_types") {
        None => (0..layers).map(|i| !i.is_multiple_of(every)).collect(),
        Some(types) => llama::sliding_layers(types, layers)?,
    };
    let span = |sliding| if sliding { Span { before: reach, after: reach } } else { Span::ALL };
    Ok(sliding.into_iter().map(|s| LayerOptions { span: span(s), rotary: Some(usize::from(s)) }).collect())
}

/// Rotary options of layers with full attention, and of those with a sliding window.
fn rotary(fields: &Fields, head_size: usize, max_length: usize) -> Checked<Vec<RotaryOptions>> {
    fields.only("rope_scaling", Value::Null)?;
    let thetas = [fields.positive("global_rope_theta", 160_000.0)?, fields.positive("local_rope_theta", 10_000.0)?];
    let parameters = fields.value("rope_parameters");
    let kinds = ["full_attention", "sliding_attention"];
    let is_nested =
        |all: &Value| all.as_object().is_some_and(|all| all.keys().all(|key| kinds.contains(&key.as_str())));
    if let Some(flat) = parameters.filter(|all| !is_nested(all)) {
        return Err(format!("rope_parameters is {flat}; expected an object of full_attention and sliding_attention"));
    }
    let of = |(kind, theta): (&str, f64)| match parameters.and_then(|all| all.get(kind)) {
        None | Some(Value::Null) => Ok(RotaryOptions::plain(head_size, theta)),
        Some(Value::Object(parameters)) => RotaryOptions::of(parameters, head_size, theta, max_length),
        Some(other) => Err(format!("rope_parameters.{kind} is {other}; expected an object")),
    };
    kinds.into_iter().zip(thetas).map(of).collect()
}
