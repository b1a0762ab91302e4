//! The small files beside a model's weights that travel with it, byte for byte: tokenizer and pooling.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Their names.
pub const SIDE_FILES: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "1_Pooling/config.json",
];

/// Those that hold a SentencePiece model.
pub(super) const SENTENCE_PIECE_FILES: [&str; 3] = ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];

/// Contents by name relative to the model directory.
#[derive(Debug, Clone, Default)]
pub struct SideFiles(pub BTreeMap<String, Vec<u8>>);

impl SideFiles {
    /// Read those that are there.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in SIDE_FILES {
            let path = dir.join(name);
            if path.is_file() {
                files.insert(name.to_string(), std::fs::read(&path).map_err(|e| Error::io(&path, e))?);
            }
        }
        Ok(Self(files))
    }

    /// The parsed JSON of a file, if it is there.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>> {
        let Some(bytes) = self.0.get(name) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|e| Error::Data(format!("{name}: not valid JSON: {e}")))
    }

    /// With this class of tokenizer where `tokenizer_config.json` names none, as `config.json` may.
    pub fn with_class(mut self, class: &str) -> Result<Self> {
        let name = "tokenizer_config.json";
        let mut config = self.json(name)?.unwrap_or_else(|| serde_json::json!({}));
        if config.is_object() && config["tokenizer_class"].is_null() {
            config["tokenizer_class"] = class.into();
            let bytes = serde_json::to_vec_pretty(&config).map_err(|e| Error::Data(format!("{name}: {e}")))?;
            self.0.insert(name.into(), bytes);
        }
        Ok(self)
    }
}
