//! An `Architecture` maps the GGUF tensor names of a model family to Hugging Face names, and its metadata to a
//! `config.json`.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::reader::Checked;

/// How the layout of a tensor in the GGUF file differs from its layout in a Hugging Face checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Same,
    /// Query projection: within each head, the rows of the two rotary halves are interleaved.
    Queries,
    /// Key projection: interleaved like `Queries`, per key head.
    Keys,
    /// `[out, in]` in GGUF, `[in, out]` in the checkpoint (GPT-2's `Conv1D`).
    Transposed,
}

/// Tensor names without `.weight` or `.bias`: (GGUF name, Hugging Face name, layout); `{}` is the layer index.
pub(super) type Names = &'static [(&'static str, &'static str, Form)];

/// A model family: its name, its tensor names, and the function that builds its `config.json`.
pub(super) struct Architecture {
    /// `general.architecture`
    pub name: &'static str,
    pub names: Names,
    pub config: fn(&Fields) -> Checked<Map<String, Value>>,
}

impl Architecture {
    /// Hugging Face name of a GGUF tensor, and how its layout differs; None if the architecture has no such tensor.
    pub fn translate(&self, tensor: &str) -> Option<(String, Form)> {
        let (stem, suffix) = tensor.rsplit_once('.').filter(|(_, suffix)| matches!(*suffix, "weight" | "bias"))?;
        let (layer, stem) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            // The layer index must have no sign and no leading zeros, so that each tensor has one name only.
            Some((layer, rest)) => (layer.parse::<u32>().ok().filter(|n| n.to_string() == layer)?.to_string(), rest),
            None => (String::new(), stem),
        };
        let (_, theirs, form) =
            self.names.iter().find(|(ours, theirs, _)| *ours == stem && theirs.contains("{}") != layer.is_empty())?;
        let form = if suffix == "bias" && *form == Form::Transposed { Form::Same } else { *form };
        Some((format!("{}.{suffix}", theirs.replace("{}", &layer)), form))
    }
}
