//! The model families: options and parameter names, one file each.

mod albert;
mod bert;
mod deberta_v2;
mod distilbert;
mod electra;
mod gpt2;
mod llama;
mod modernbert;
mod mpnet;
mod roberta;
mod xlnet;

use super::config::Config;
use super::family::Family;
use super::fields::{Checked, Fields};

/// Reads the `config.json` of a model type.
pub(super) type Configure = fn(&Fields, &str) -> Checked<Config>;

/// All supported families.
pub(super) const ALL: &[(&Family, Configure)] = &[
    (&bert::BERT, bert::configure),
    (&roberta::ROBERTA, roberta::configure),
    (&distilbert::DISTILBERT, distilbert::configure),
    (&electra::ELECTRA, electra::configure),
    (&albert::ALBERT, albert::configure),
    (&modernbert::MODERNBERT, modernbert::configure),
    (&gpt2::GPT2, gpt2::configure),
    (&llama::LLAMA, llama::configure),
    (&xlnet::XLNET, xlnet::configure),
    (&mpnet::MPNET, mpnet::configure),
    (&deberta_v2::DEBERTA_V2, deberta_v2::configure),
];
