//! RoBERTa (Liu et al. 2019), and with the same layout XLM-R (Conneau et al. 2019) and CamemBERT (Martin et al. 2019):
//! BERT with positions that start after the padding id and skip padding tokens, and heads of two layers.

use super::bert;
use crate::backbone::config::Config;
use crate::backbone::family::{Dense, Family, Names};
use crate::backbone::fields::{Checked, Fields};
use crate::backbone::positions::LearnedPositions;
use crate::ops::activation::Activation;

pub(in crate::backbone) const ROBERTA: Family = Family {
    name: "roberta",
    model_types: &[("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta"), ("camembert", "Camembert")],
    language_class: "ForMaskedLM",
    detector_class: "Model",
    names: Names { prefix: "roberta.", pooler: "pooler.dense", pretraining_heads: &["lm_head"], ..bert::NAMES },
};

pub(super) fn configure(fields: &Fields, _: &str) -> Checked<Config> {
    let mut config = bert::encoder(fields, &ROBERTA, "hidden_act", Activation::Gelu)?;
    let (rows, padding) = (config.max_length, fields.count_or("pad_token_id", 1)?);
    let first = padding.saturating_add(1);
    if first >= rows {
        return Err(format!("max_position_embeddings is {rows}, of which positions begin at {first}"));
    }
    config.embedding.positions = Some(LearnedPositions { rows, first, padding: u32::try_from(padding).ok() });
    config.max_length = rows - first;
    let dropout = fields.dropout("classifier_dropout", config.embedding.dropout)?;
    two_layer_heads(&mut config, dropout);
    config.token_classifier.last_dropout = config.sequence_classifier.last_dropout;
    Ok(config)
}

/// The sequence-classification and language-modelling heads with RoBERTa's names: a dense layer of the hidden size,
/// then the output layer; `dropout` goes before each layer of the classifier.
pub(super) fn two_layer_heads(config: &mut Config, dropout: f64) {
    let size = config.hidden_size;
    let dense = |name, activation| Some(Dense { name, size, activation, bias: true });
    let classifier = &mut config.sequence_classifier;
    classifier.dense = dense("classifier.dense", Activation::Tanh);
    classifier.output = "classifier.out_proj";
    classifier.output_bias = "classifier.out_proj.bias";
    classifier.first_dropout = dropout;
    classifier.last_dropout = dropout;
    let language = &mut config.language_head;
    language.dense = dense("lm_head.dense", Activation::Gelu);
    language.norm = "lm_head.layer_norm";
    language.output = "lm_head.decoder";
    language.output_bias = language.bias_of("lm_head.bias", "lm_head.decoder.bias");
}
