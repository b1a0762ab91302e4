//! The supported architectures.

use super::architecture::Architecture;
use super::reader::Checked;
use super::{bert, gpt2, llama};

const ALL: [&Architecture; 5] = [&bert::BERT, &gpt2::GPT2, &llama::LLAMA, &llama::QWEN2, &llama::QWEN3];

/// Looks an architecture up by its `general.architecture` name; an unknown name is an error.
pub(super) fn named(name: &str) -> Checked<&'static Architecture> {
    ALL.into_iter().find(|architecture| architecture.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|a| a.name).collect();
        format!("general.architecture is {name:?}; supported: {}", names.join(", "))
    })
}
