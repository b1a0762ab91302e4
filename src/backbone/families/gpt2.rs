//! GPT-2 (Radford et al. 2019), as `transformers.GPT2Model` (5.x).

use serde_json::Map;

use super::bert;
use crate::backbone::config::{
    AttentionOptions, Capabilities, Config, EmbeddingOptions, FeedForwardOptions, Initializer, LayerOptions,
    MAX_LAYERS, NormOptions,
};
use crate::backbone::family::{Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::pooling::Pooling;
use crate::backbone::positions::{LearnedPositions, ScorePositions};
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

pub(in crate::backbone) const GPT2: Family = Family {
    name: "gpt2",
    model_types: &[("gpt2", "GPT2")],
    language_class: "LMHeadModel",
    detector_class: "Model",
    names: Names {
        prefix: "transformer.",
        task_heads: &["classifier", "qa_outputs", "score"],
        pretraining_heads: &["lm_head"],
        word_embeddings: "wte",
        position_embeddings: "wpe",
        layer: "h.{}",
        query: Part::one_of("attn.c_attn", 0, 3),
        key: Part::one_of("attn.c_attn", 1, 3),
        value: Part::one_of("attn.c_attn", 2, 3),
        attention_output: "attn.c_proj",
        attention_norm: "ln_1",
        up: Part::whole("mlp.c_fc"),
        down: "mlp.c_proj",
        feed_forward_norm: "ln_2",
        final_norm: "ln_f",
        input_major: true,
        buffers: &["attn.bias", "attn.masked_bias"],
        ..Names::NONE
    },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    fields.only("scale_attn_weights", true)?;
    fields.only("scale_attn_by_inverse_layer_idx", false)?;
    let (hidden_size, layers, heads) = (fields.count("n_embd")?, fields.count("n_layer")?, fields.count("n_head")?);
    let rows = fields.count("n_positions")?;
    let (dropout, std) = (fields.dropout("resid_pdrop", 0.1)?, fields.number_or("initializer_range", 0.02)?);
    fields.without_effect(&[
        "n_ctx",
        "n_special",
        "predict_special_tokens",
        "reorder_and_upcast_attn",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    ]);
    Ok(Config {
        family: &GPT2,
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
            normed: false,
            dropout: fields.dropout("embd_pdrop", 0.1)?,
        },
        norm: NormOptions {
            kind: Kind::Layer,
            eps: fields.positive("layer_norm_epsilon", 1e-5)?,
            bias: true,
            before: true,
            first: true,
        },
        attention: AttentionOptions {
            heads,
            key_heads: heads,
            head_size: bert::head_size(hidden_size, heads)?,
            bias: true,
            output_bias: true,
            normed: false,
            positions: ScorePositions::None,
            dropout: fields.dropout("attn_pdrop", 0.1)?,
            output_dropout: dropout,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count_or("n_inner", 4 * hidden_size)?,
            activation: fields.activation("activation_function", Activation::GeluTanh)?,
            gated: false,
            bias: true,
            inner_dropout: 0.0,
            dropout,
        },
        layers: vec![LayerOptions { span: Span::CAUSAL, rotary: None }; layers.min(MAX_LAYERS)],
        capabilities: Capabilities::CAUSAL,
        // Radford et al. 2019, section 2.3: divided by the square root of the number of residual sums.
        initializer: Initializer { output_std: std / (2.0 * layers as f64).sqrt(), ..Initializer::normal(std) },
        sequence_classifier: HeadOptions::linear(Pooling::Last, "score", "", std),
        // Transformers' default if the configuration sets neither classifier dropout nor hidden dropout.
        token_classifier: HeadOptions::token_classifier(0.1, std),
        language_head: HeadOptions {
            tied: fields.flag_or("tie_word_embeddings", true)?,
            ..HeadOptions::linear(Pooling::Last, "lm_head", "", std)
        },
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}
