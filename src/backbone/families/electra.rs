//! ELECTRA (Clark et al. 2020): BERT with embeddings that may be narrower than its layers.

use super::bert;
use crate::backbone::config::Config;
use crate::backbone::family::{Dense, Family, HeadOptions, Names};
use crate::backbone::fields::{Checked, Fields};
use crate::ops::activation::Activation;

pub(in crate::backbone) const ELECTRA: Family = Family {
    name: "electra",
    model_types: &[("electra", "Electra")],
    language_class: "ForMaskedLM",
    detector_class: "ForPreTraining",
    names: Names {
        prefix: "electra.",
        embedding_projection: "embeddings_project",
        before_heads: &["sequence_summary"],
        pretraining_heads: &["discriminator_predictions", "generator_lm_head", "generator_predictions"],
        ..bert::NAMES
    },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    let mut config = bert::encoder(fields, &ELECTRA, "hidden_act", Activation::Gelu)?;
    let (hidden, size) = (config.hidden_size, fields.count_or("embedding_size", 128)?);
    config.embedding.size = size;
    config.embedding.projected = size != hidden;
    let dropout = fields.dropout("classifier_dropout", config.embedding.dropout)?;
    let dense = |name, size| Some(Dense { name, size, activation: Activation::Gelu, bias: true });
    config.sequence_classifier = HeadOptions {
        dense: dense("classifier.dense", hidden),
        output: "classifier.out_proj",
        output_bias: "classifier.out_proj.bias",
        first_dropout: dropout,
        last_dropout: dropout,
        ..config.sequence_classifier
    };
    config.token_classifier.last_dropout = config.sequence_classifier.last_dropout;
    config.language_head = HeadOptions {
        dense: dense("generator_predictions.dense", size),
        norm: "generator_predictions.LayerNorm",
        output: "generator_lm_head",
        output_bias: "generator_lm_head.bias",
        ..config.language_head
    };
    fields.without_effect(&["summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj"]);
    Ok(config)
}
