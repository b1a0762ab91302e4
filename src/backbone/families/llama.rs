//! Llama (Touvron et al. 2023), and with the same layout Mistral, Qwen2 and Qwen3: pre-norm RMSNorm, rotary positions,
//! gated feed-forward nets, grouped-query attention. As in transformers 5.x.

use serde_json::{Map, Value};

use super::bert;
use crate::backbone::config::{
    AttentionOptions, Capabilities, Config, EmbeddingOptions, FeedForwardOptions, Initializer, LayerOptions,
    MAX_HEAD_SIZE, MAX_LAYERS, NormOptions,
};
use crate::backbone::family::{Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::pooling::Pooling;
use crate::backbone::positions::ScorePositions;
use crate::backbone::rotary_options::RotaryOptions;
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

pub(in crate::backbone) const LLAMA: Family = Family {
    name: "llama",
    model_types: &[("llama", "Llama"), ("mistral", "Mistral"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3")],
    language_class: "ForCausalLM",
    detector_class: "Model",
    names: Names {
        prefix: "model.",
        task_heads: &["classifier", "qa_outputs", "score"],
        pretraining_heads: &["lm_head"],
        word_embeddings: "embed_tokens",
        layer: "layers.{}",
        query: Part::whole("self_attn.q_proj"),
        key: Part::whole("self_attn.k_proj"),
        value: Part::whole("self_attn.v_proj"),
        query_norm: "self_attn.q_norm",
        key_norm: "self_attn.k_norm",
        attention_output: "self_attn.o_proj",
        attention_norm: "input_layernorm",
        gate: Part::whole("mlp.gate_proj"),
        up: Part::whole("mlp.up_proj"),
        down: "mlp.down_proj",
        feed_forward_norm: "post_attention_layernorm",
        final_norm: "norm",
        buffers: &["rotary_emb.inv_freq"],
        ..Names::NONE
    },
};

pub(super) fn configure(fields: &Fields, model_type: &str) -> Checked<Config> {
    fields.only("pretraining_tp", 1)?;
    fields.only("rope_interleaved", false)?;
    fields.only("use_mrope", false)?;
    fields.without_effect(&["is_llama_config"]);
    let (hidden_size, layers) = (fields.count("hidden_size")?, fields.count("num_hidden_layers")?);
    let heads = fields.count("num_attention_heads")?;
    let said_none = fields.is_null("num_key_value_heads");
    let default = if model_type == "mistral" && !said_none { 8 } else { heads };
    let key_heads = fields.count_or("num_key_value_heads", default)?;
    let head_size = match (fields.optional_count("head_dim")?, model_type) {
        (Some(size), _) => size,
        (None, "qwen3") => 128,
        (None, _) => bert::head_size(hidden_size, heads)?,
    };
    let max_length = fields.count("max_position_embeddings")?;
    // Llama has biases on all attention projections or none, Qwen2 on queries, keys and values, Mistral on none.
    let biases = matches!(model_type, "llama" | "qwen3") && fields.flag_or("attention_bias", false)?;
    let mlp_bias = model_type == "llama" && fields.flag_or("mlp_bias", false)?;
    let std = fields.number_or("initializer_range", 0.02)?;
    Ok(Config {
        family: &LLAMA,
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
            normed: false,
            dropout: 0.0,
        },
        norm: NormOptions {
            kind: Kind::RootMeanSquare,
            eps: fields.positive("rms_norm_eps", 1e-6)?,
            bias: false,
            before: true,
            first: true,
        },
        attention: AttentionOptions {
            heads,
            key_heads,
            head_size,
            bias: biases || model_type == "qwen2",
            output_bias: biases,
            normed: model_type == "qwen3",
            positions: ScorePositions::Rotary(vec![RotaryOptions::read(
                fields,
                head_size.min(MAX_HEAD_SIZE),
                10_000.0,
                max_length,
            )?]),
            dropout: fields.dropout("attention_dropout", 0.0)?,
            output_dropout: 0.0,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count("intermediate_size")?,
            activation: fields.activation("hidden_act", Activation::Silu)?,
            gated: true,
            bias: mlp_bias,
            inner_dropout: 0.0,
            dropout: 0.0,
        },
        layers: spans(fields, model_type, layers.min(MAX_LAYERS))?
            .into_iter()
            .map(|span| LayerOptions { span, rotary: Some(0) })
            .collect(),
        capabilities: Capabilities::CAUSAL,
        initializer: Initializer::normal(std),
        sequence_classifier: HeadOptions::linear(Pooling::Last, "score", "", std),
        // As in transformers' `GenericForTokenClassification`.
        token_classifier: HeadOptions {
            last_dropout: 0.1,
            ..HeadOptions::linear(Pooling::Words, "score", "score.bias", std)
        },
        language_head: HeadOptions {
            tied: fields.flag_or("tie_word_embeddings", false)?,
            ..HeadOptions::linear(Pooling::Last, "lm_head", "", std)
        },
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}

/// The attention span of each layer: all preceding tokens, or a sliding window of them.
fn spans(fields: &Fields, model_type: &str, layers: usize) -> Checked<Vec<Span>> {
    let window = |size: usize| match size {
        0 => Err("sliding_window is 0; expected at least 1".to_string()),
        // The window includes the token itself.
        size => Ok(Span { before: size - 1, ..Span::CAUSAL }),
    };
    match model_type {
        "mistral" => {
            // Without a window the field must be an explicit null.
            let none = fields.is_null("sliding_window");
            let size = fields.count_or("sliding_window", 4096)?;
            Ok(vec![if none { Span::CAUSAL } else { window(size)? }; layers])
        }
        "qwen2" | "qwen3" => {
            let on = fields.flag_or("use_sliding_window", false)? && !fields.is_null("sliding_window");
            let (size, first) = (fields.count_or("sliding_window", 4096)?, fields.count_or("max_window_layers", 28)?);
            let sliding = match fields.value("layer_types") {
                None => (0..layers).map(|i| on && i >= first).collect(),
                Some(types) => sliding_layers(types, layers)?,
            };
            let span = |sliding| if sliding && on { window(size) } else { Ok(Span::CAUSAL) };
            sliding.into_iter().map(span).collect()
        }
        _ => Ok(vec![Span::CAUSAL; layers]),
    }
}

/// Whether each layer has a sliding window, from the field `layer_types`.
pub(super) fn sliding_layers(types: &Value, layers: usize) -> Checked<Vec<bool>> {
    let kind = |value: &Value| match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!("layer_types has {value}; supported: full_attention, sliding_attention")),
    };
    let types = types.as_array().filter(|types| types.len() == layers);
    types.ok_or(format!("layer_types: expected a list of {layers}"))?.iter().map(kind).collect()
}
