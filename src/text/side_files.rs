//! The small files beside a model's weights that travel with it, byte for byte: tokenizer, chat templates, pooling, and how
//! texts are generated.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Their names.
pub const SIDE_FILES: [&str; 13] = [
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
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    "1_Pooling/config.json",
];

/// The chat template, as transformers 4.57 and later write it.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Where templates of other names lie, each as `NAME.jinja`.
pub const CHAT_TEMPLATES: &str = "additional_chat_templates";

/// Which tokens end a text, and how tokens are drawn. It is the model's, not the tokenizer's.
pub const GENERATION_CONFIG: &str = "generation_config.json";

/// The side files that are in a directory.
pub fn side_files_in(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> =
        SIDE_FILES.into_iter().filter(|name| dir.join(name).is_file()).map(String::from).collect();
    let templates = dir.join(CHAT_TEMPLATES);
    if templates.is_dir() {
        for entry in std::fs::read_dir(&templates).map_err(|e| Error::io(&templates, e))? {
            let entry = entry.map_err(|e| Error::io(&templates, e))?;
            let (path, name) = (entry.path(), entry.file_name());
            if let Some(name) = name.to_str().filter(|_| path.extension().is_some_and(|e| e == "jinja"))
                && path.is_file()
            {
                names.push(format!("{CHAT_TEMPLATES}/{name}"));
            }
        }
    }
    Ok(names)
}

/// Those that hold a SentencePiece model.
pub(super) const SENTENCE_PIECE_FILES: [&str; 3] = ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];

/// Contents by name relative to the model directory.
#[derive(Debug, Clone, Default)]
pub struct SideFiles(pub BTreeMap<String, Vec<u8>>);

impl SideFiles {
    /// Read those that are there.
    pub fn read(dir: &Path) -> Result<Self> {
        let read = |name: String| {
            let path = dir.join(&name);
            std::fs::read(&path).map(|bytes| (name, bytes)).map_err(|e| Error::io(&path, e))
        };
        Ok(Self(side_files_in(dir)?.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// The parsed JSON of a file, if it is there.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>> {
        let Some(bytes) = self.0.get(name) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|e| Error::Data(format!("{name}: not valid JSON: {e}")))
    }
}
