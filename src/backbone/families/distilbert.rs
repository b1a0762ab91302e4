//! DistilBERT (Sanh et al. 2019): BERT without segments; its fields and parameters have other names.

use serde_json::Map;

use super::bert;
use crate::backbone::config::{
    AttentionOptions, Capabilities, Config, EmbeddingOptions, FeedForwardOptions, Initializer, LayerOptions,
    MAX_LAYERS, NormOptions,
};
use crate::backbone::family::{Dense, Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::pooling::Pooling;
use crate::backbone::positions::{LearnedPositions, ScorePositions};
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

pub(in crate::backbone) const DISTILBERT: Family = Family {
    name: "distilbert",
    model_types: &[("distilbert", "DistilBert")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names {
        prefix: "distilbert.",
        before_heads: &["pre_classifier"],
        pretraining_heads: &["vocab_layer_norm", "vocab_projector", "vocab_transform"],
        segment_embeddings: "",
        layer: "transformer.layer.{}",
        query: Part::whole("attention.q_lin"),
        key: Part::whole("attention.k_lin"),
        value: Part::whole("attention.v_lin"),
        attention_output: "attention.out_lin",
        attention_norm: "sa_layer_norm",
        up: Part::whole("ffn.lin1"),
        down: "ffn.lin2",
        feed_forward_norm: "output_layer_norm",
        ..bert::NAMES
    },
};

/// Fixed in the model's code, not in its configuration.
const EPS: f64 = 1e-12;

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    let (hidden_size, layers, heads) = (fields.count("dim")?, fields.count("n_layers")?, fields.count("n_heads")?);
    let rows = fields.count("max_position_embeddings")?;
    let (dropout, std) = (fields.dropout("dropout", 0.1)?, fields.number_or("initializer_range", 0.02)?);
    let activation = fields.activation("activation", Activation::Gelu)?;
    let dense = |name, activation| Some(Dense { name, size: hidden_size, activation, bias: true });
    fields.without_effect(&["qa_dropout", "sinusoidal_pos_embds", "tie_weights_"]);
    Ok(Config {
        family: &DISTILBERT,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        num_hidden_layers: layers,
        layer_groups: layers,
        max_length: rows,
        embedding: EmbeddingOptions {
            size: hidden_size,
            projected: false,
            positions: Some(LearnedPositions { rows, first: 0, padding: None }),
            segments: 0,
            normed: true,
            dropout,
        },
        norm: NormOptions { kind: Kind::Layer, eps: EPS, bias: true, before: false, first: true },
        attention: AttentionOptions {
            heads,
            key_heads: heads,
            head_size: bert::head_size(hidden_size, heads)?,
            bias: true,
            output_bias: true,
            normed: false,
            positions: ScorePositions::None,
            dropout: fields.dropout("attention_dropout", 0.1)?,
            output_dropout: 0.0,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count("hidden_dim")?,
            activation,
            gated: false,
            bias: true,
            inner_dropout: 0.0,
            dropout,
        },
        layers: vec![LayerOptions { span: Span::ALL, rotary: None }; layers.min(MAX_LAYERS)],
        capabilities: Capabilities::MASKED,
        initializer: Initializer::normal(std),
        sequence_classifier: HeadOptions {
            dense: dense("pre_classifier", Activation::Relu),
            last_dropout: fields.dropout("seq_classif_dropout", 0.2)?,
            ..HeadOptions::linear(Pooling::Cls, "classifier", "classifier.bias", std)
        },
        token_classifier: HeadOptions::token_classifier(dropout, std),
        language_head: HeadOptions {
            dense: dense("vocab_transform", activation),
            norm: "vocab_layer_norm",
            tied: fields.flag_or("tie_word_embeddings", true)?,
            ..HeadOptions::linear(Pooling::Cls, "vocab_projector", "vocab_projector.bias", std)
        },
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}
