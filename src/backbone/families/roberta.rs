//! RoBERTa (Liu et al. 2019), and in its layout XLM-R (Conneau et al. 2019) and CamemBERT (Martin et al. 2019): BERT with
//! positions that count from behind the padding id and pass padding tokens by, and heads of two layers.

use super::bert;
use crate::backbone::config::Config;
use crate::backbone::family::{Dense, Family, HeadOptions, Names};
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
    let dense = |name, activation| Some(Dense { name, size: config.hidden_size, activation, bias: true });
    config.classifier = HeadOptions {
        dense: dense("classifier.dense", Activation::Tanh),
        output: "classifier.out_proj",
        output_bias: "classifier.out_proj.bias",
        first_dropout: dropout,
        last_dropout: dropout,
        ..config.classifier
    };
    config.words.last_dropout = config.classifier.last_dropout;
    config.language = HeadOptions {
        dense: dense("lm_head.dense", Activation::Gelu),
        norm: "lm_head.layer_norm",
        output: "lm_head.decoder",
        output_bias: config.language.bias_of("lm_head.bias", "lm_head.decoder.bias"),
        ..config.language
    };
    Ok(config)
}
