//! BERT (Devlin et al. 2018), as `transformers.BertModel` (5.x), and the parts that its descendants share with it.

use serde_json::Map;

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

pub(in crate::backbone) const BERT: Family = Family {
    name: "bert",
    model_types: &[("bert", "Bert")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names { prefix: "bert.", pooler: "pooler.dense", ..NAMES },
};

/// Parameter names of embeddings and layers.
pub(super) const NAMES: Names = Names {
    word_embeddings: "embeddings.word_embeddings",
    position_embeddings: "embeddings.position_embeddings",
    segment_embeddings: "embeddings.token_type_embeddings",
    embedding_norm: "embeddings.LayerNorm",
    layer: "encoder.layer.{}",
    query: Part::whole("attention.self.query"),
    key: Part::whole("attention.self.key"),
    value: Part::whole("attention.self.value"),
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: Part::whole("intermediate.dense"),
    down: "output.dense",
    feed_forward_norm: "output.LayerNorm",
    task_heads: &["classifier", "qa_outputs"],
    pretraining_heads: &["cls"],
    buffers: &["embeddings.position_ids", "embeddings.token_type_ids"],
    ..Names::NONE
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    let mut config = encoder(fields, &BERT, "hidden_act", Activation::Gelu)?;
    let dropout = fields.dropout("hidden_dropout_prob", 0.1)?;
    let activation = config.feed_forward.activation;
    config.sequence_classifier = HeadOptions {
        dense: Some(Dense {
            name: BERT.names.pooler,
            size: config.hidden_size,
            activation: Activation::Tanh,
            bias: true,
        }),
        last_dropout: fields.dropout("classifier_dropout", dropout)?,
        ..config.sequence_classifier
    };
    config.token_classifier.last_dropout = config.sequence_classifier.last_dropout;
    config.language_head = HeadOptions {
        dense: Some(Dense {
            name: "cls.predictions.transform.dense",
            size: config.hidden_size,
            activation,
            bias: true,
        }),
        norm: "cls.predictions.transform.LayerNorm",
        output: "cls.predictions.decoder",
        output_bias: config.language_head.bias_of("cls.predictions.bias", "cls.predictions.decoder.bias"),
        ..config.language_head
    };
    fields.without_effect(&[
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    ]);
    Ok(config)
}

/// An encoder of post-norm layers with learned positions and BERT's configuration fields; heads are a single layer.
pub(super) fn encoder(
    fields: &Fields,
    family: &'static Family,
    activation: &'static str,
    default: Activation,
) -> Checked<Config> {
    fields.only("position_embedding_type", "absolute")?;
    let hidden_size = fields.count("hidden_size")?;
    let (layers, heads) = (fields.count("num_hidden_layers")?, fields.count("num_attention_heads")?);
    let rows = fields.count("max_position_embeddings")?;
    let dropout = fields.dropout("hidden_dropout_prob", 0.1)?;
    let std = fields.number_or("initializer_range", 0.02)?;
    Ok(Config {
        family,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        num_hidden_layers: layers,
        layer_groups: layers,
        max_length: rows,
        embedding: EmbeddingOptions {
            size: hidden_size,
            projected: false,
            positions: Some(LearnedPositions { rows, first: 0, padding: None }),
            segments: fields.count_or("type_vocab_size", 2)?,
            normed: true,
            dropout,
        },
        norm: NormOptions {
            kind: Kind::Layer,
            eps: fields.positive("layer_norm_eps", 1e-12)?,
            bias: true,
            before: false,
            first: true,
        },
        attention: AttentionOptions {
            heads,
            key_heads: heads,
            head_size: head_size(hidden_size, heads)?,
            bias: true,
            output_bias: true,
            normed: false,
            positions: ScorePositions::None,
            dropout: fields.dropout("attention_probs_dropout_prob", 0.1)?,
            output_dropout: dropout,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count("intermediate_size")?,
            activation: fields.activation(activation, default)?,
            gated: false,
            bias: true,
            inner_dropout: 0.0,
            dropout,
        },
        layers: vec![LayerOptions { span: Span::ALL, rotary: None }; layers.min(MAX_LAYERS)],
        capabilities: Capabilities::MASKED,
        initializer: Initializer::normal(std),
        sequence_classifier: HeadOptions::linear(Pooling::Cls, "classifier", "classifier.bias", std),
        token_classifier: HeadOptions::token_classifier(dropout, std),
        language_head: HeadOptions {
            tied: fields.flag_or("tie_word_embeddings", true)?,
            ..HeadOptions::linear(Pooling::Cls, "", "", std)
        },
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}

/// The width of each head; an error if `heads` does not divide `width`.
pub(super) fn head_size(width: usize, heads: usize) -> Checked<usize> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(format!("hidden size {width} is not a multiple of the number of attention heads, {heads}"));
    }
    Ok(width / heads)
}
