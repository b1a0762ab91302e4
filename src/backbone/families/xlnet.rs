//! XLNet (Yang et al. 2019), as `transformers.XLNetModel` (5.x).

use serde_json::Map;

use super::bert;
use crate::backbone::config::{
    AttentionOptions, Capabilities, Config, EmbeddingOptions, FeedForwardOptions, Initializer, LayerOptions,
    MAX_LAYERS, NormOptions,
};
use crate::backbone::family::{Dense, Family, HeadOptions, Names, Part};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::pooling::Pooling;
use crate::backbone::positions::ScorePositions;
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

pub(in crate::backbone) const XLNET: Family = Family {
    name: "xlnet",
    model_types: &[("xlnet", "XLNet")],
    language_class: "LMHeadModel",
    detector_class: "Model",
    names: Names {
        prefix: "transformer.",
        task_heads: &["classifier", "logits_proj", "qa_outputs"],
        before_heads: &["sequence_summary"],
        pretraining_heads: &["lm_loss"],
        word_embeddings: "word_embedding",
        mask_embedding: "mask_emb",
        layer: "layer.{}",
        query: Part::whole("rel_attn.q"),
        key: Part::whole("rel_attn.k"),
        value: Part::whole("rel_attn.v"),
        relative: "rel_attn",
        by_heads: true,
        attention_output: "rel_attn.o",
        attention_norm: "rel_attn.layer_norm",
        up: Part::whole("ff.layer_1"),
        down: "ff.layer_2",
        feed_forward_norm: "ff.layer_norm",
        ..Names::NONE
    },
};

/// Distances are unbounded, so only memory limits the length of texts.
const MAX_LENGTH: usize = 1 << 24;

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    fields.only("bi_data", false)?;
    fields.only("same_length", false)?;
    fields.only("untie_r", true)?;
    fields.only("summary_type", "last")?;
    fields.only("summary_use_proj", true)?;
    fields.only("summary_activation", "tanh")?;
    fields.only("summary_first_dropout", 0.0)?;
    let (hidden_size, layers, heads) = (fields.count("d_model")?, fields.count("n_layer")?, fields.count("n_head")?);
    let head_size = bert::head_size(hidden_size, heads)?;
    fields.only("d_head", head_size)?;
    if !hidden_size.is_multiple_of(2) {
        return Err(format!("d_model is {hidden_size}; expected an even number: sines and cosines"));
    }
    let (dropout, std) = (fields.dropout("dropout", 0.1)?, fields.number_or("initializer_range", 0.02)?);
    let (span, capabilities) = match fields.text("attn_type")?.unwrap_or("bi") {
        "bi" => (Span::ALL, Capabilities::PERMUTATION),
        "uni" => (Span::CAUSAL, Capabilities::CAUSAL),
        other => return Err(format!("attn_type is {other:?}; expected \"bi\" or \"uni\"")),
    };
    let longest = fields.number_or("clamp_len", -1.0)?;
    // Memory and other options of a pass are set by its caller, not by the configuration.
    fields.without_effect(&["end_n_top", "mem_len", "reuse_len", "start_n_top", "use_mems_eval", "use_mems_train"]);
    Ok(Config {
        family: &XLNET,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        num_hidden_layers: layers,
        layer_groups: layers,
        max_length: MAX_LENGTH,
        embedding: EmbeddingOptions {
            size: hidden_size,
            projected: false,
            positions: None,
            segments: 0,
            normed: false,
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
            head_size,
            bias: false,
            output_bias: false,
            normed: false,
            positions: ScorePositions::TransformerXl { longest: (longest > 0.0).then_some(longest as usize) },
            dropout,
            output_dropout: dropout,
        },
        feed_forward: FeedForwardOptions {
            size: fields.count("d_inner")?,
            activation: fields.activation("ff_activation", Activation::Gelu)?,
            gated: false,
            bias: true,
            inner_dropout: dropout,
            dropout,
        },
        layers: vec![LayerOptions { span, rotary: None }; layers.min(MAX_LAYERS)],
        capabilities,
        initializer: Initializer::normal(std),
        sequence_classifier: HeadOptions {
            dense: Some(Dense {
                name: "sequence_summary.summary",
                size: hidden_size,
                activation: Activation::Tanh,
                bias: true,
            }),
            first_dropout: dropout,
            last_dropout: fields.dropout("summary_last_dropout", 0.1)?,
            ..HeadOptions::linear(Pooling::Last, "logits_proj", "logits_proj.bias", std)
        },
        token_classifier: HeadOptions::token_classifier(0.0, std),
        language_head: HeadOptions {
            tied: fields.flag_or("tie_word_embeddings", true)?,
            last_dropout: dropout,
            ..HeadOptions::linear(Pooling::Last, "lm_loss", "lm_loss.bias", std)
        },
        has_pooler: false,
        sentence: None,
        raw: Map::new(),
    })
}
