//! The families of models: options and names, one file each.

mod albert;
mod bert;
mod distilbert;
mod electra;
mod gpt2;
mod llama;
mod modernbert;
mod roberta;
mod xlnet;

use super::family::Family;

/// All that can be read.
pub(super) const ALL: &[&Family] = &[
    &bert::BERT,
    &roberta::ROBERTA,
    &distilbert::DISTILBERT,
    &electra::ELECTRA,
    &albert::ALBERT,
    &modernbert::MODERNBERT,
    &gpt2::GPT2,
    &llama::LLAMA,
    &xlnet::XLNET,
];
