//! What an architecture is: its tensors' names, and its settings as a `config.json`.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::reader::Checked;

/// How a tensor is stored, against its form in a Hugging Face checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Same,
    /// The rows of each query head have their rotary halves interleaved.
    Queries,
    /// The same of each key head.
    Keys,
    /// `[out, in]` here, `[in, out]` there (GPT-2's `Conv1D`).
    Transposed,
}

/// Names of tensors without `.weight` or `.bias`, here and in a Hugging Face checkpoint; `{}` is the layer.
pub(super) type Names = &'static [(&'static str, &'static str, Form)];

/// An architecture.
pub(super) struct Architecture {
    /// `general.architecture`
    pub name: &'static str,
    pub names: Names,
    pub config: fn(&Fields) -> Checked<Map<String, Value>>,
}

impl Architecture {
    /// The name of a tensor in a Hugging Face checkpoint, and how it differs.
    pub fn translate(&self, tensor: &str) -> Option<(String, Form)> {
        let (stem, suffix) = tensor.rsplit_once('.').filter(|(_, suffix)| matches!(*suffix, "weight" | "bias"))?;
        let (layer, stem) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            // No signs, no leading zeros: one name for each tensor.
            Some((layer, rest)) => (layer.parse::<u32>().ok().filter(|n| n.to_string() == layer)?.to_string(), rest),
            None => (String::new(), stem),
        };
        let (_, theirs, form) =
            self.names.iter().find(|(ours, theirs, _)| *ours == stem && theirs.contains("{}") != layer.is_empty())?;
        let form = if suffix == "bias" && *form == Form::Transposed { Form::Same } else { *form };
        Some((format!("{}.{suffix}", theirs.replace("{}", &layer)), form))
    }
}
