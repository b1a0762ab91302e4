//! The small files that accompany a model's weights: tokenizer, chat templates, generation settings, and the files of
//! sentence-transformers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Lists the modules of a sentence-transformers directory.
pub const MODULES: &str = "modules.json";

/// Settings with which sentence-transformers runs the transformer.
pub const SENTENCE_CONFIG: &str = "sentence_bert_config.json";

/// Type of the model that sentence-transformers saved, and its prompts.
pub const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";

/// Files in the model directory itself, even if the transformer has a folder of its own.
const OF_DIRECTORY: [&str; 3] = [MODULES, SENTENCE_TRANSFORMERS, "1_Pooling/config.json"];

/// Names of the side files, without those in module folders. The last ones are old names of [`SENTENCE_CONFIG`], in the
/// order in which they are tried.
pub const SIDE_FILES: [&str; 23] = [
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
    "spm.model",
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    "1_Pooling/config.json",
    MODULES,
    SENTENCE_TRANSFORMERS,
    SENTENCE_CONFIG,
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The chat template, as transformers 4.57 and later write it.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Folder of further chat templates, each as `NAME.jinja`.
pub const CHAT_TEMPLATES: &str = "additional_chat_templates";

/// End-of-text tokens and sampling parameters. The file belongs to the model, not to the tokenizer.
pub const GENERATION_CONFIG: &str = "generation_config.json";

fn is_template(name: &str) -> bool {
    name.strip_prefix(CHAT_TEMPLATES).is_some_and(|rest| rest.starts_with('/'))
}

/// Names of the side files that lie directly in `dir`.
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

/// File names of SentencePiece models.
pub(super) const SENTENCE_PIECE_FILES: [&str; 4] =
    ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model"];

/// File contents by name relative to the model directory.
#[derive(Debug, Clone, Default)]
pub struct SideFiles(pub BTreeMap<String, Vec<u8>>);

impl SideFiles {
    /// Reads the side files that exist. Files of a transformer in a folder of its own are stored as if they lay in the
    /// directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut files = Self::default();
        files.add(dir, &OF_DIRECTORY)?;
        let modules = files.modules()?.unwrap_or_default();
        let folder = modules.first().map_or("", |transformer| &transformer.path);
        let of_transformer: Vec<&str> = SIDE_FILES.into_iter().filter(|name| !OF_DIRECTORY.contains(name)).collect();
        let transformer = dir.join(folder);
        files.add(&transformer, &of_transformer)?;
        let templates = side_files_in(&transformer)?;
        files.add(
            &transformer,
            &templates.iter().map(String::as_str).filter(|name| is_template(name)).collect::<Vec<_>>(),
        )?;
        for module in modules.iter().skip(1) {
            files.add(dir, &[&module.file("config.json")])?;
        }
        for old in SIDE_FILES.into_iter().skip_while(|name| *name != SENTENCE_CONFIG).skip(1) {
            if let Some(content) = files.0.remove(old) {
                files.0.entry(SENTENCE_CONFIG.into()).or_insert(content);
            }
        }
        // The modules of a cross-encoder compute scores of pairs, not vectors.
        if files.json(SENTENCE_TRANSFORMERS)?.is_some_and(|config| config["model_type"] == "CrossEncoder") {
            OF_DIRECTORY.iter().chain(&[SENTENCE_CONFIG]).for_each(|name| drop(files.0.remove(*name)));
        }
        Ok(files)
    }

    fn add(&mut self, dir: &Path, names: &[&str]) -> Result<()> {
        for name in names {
            let path = dir.join(name);
            if path.is_file() {
                self.0.insert((*name).to_string(), std::fs::read(&path).map_err(|e| Error::io(&path, e))?);
            }
        }
        Ok(())
    }

    /// Directory of the transformer within a model directory: its first module's folder, or the directory itself.
    pub fn transformer_directory(dir: &Path) -> Result<PathBuf> {
        let mut files = Self::default();
        files.add(dir, &[MODULES])?;
        let first = files.modules()?.and_then(|modules| modules.into_iter().next());
        Ok(first.map_or_else(|| dir.to_path_buf(), |transformer| dir.join(transformer.path)))
    }

    /// Removes the list of modules, so that the sentence-transformers settings have no effect.
    #[must_use]
    pub fn without_modules(mut self) -> Self {
        self.0.remove(MODULES);
        self
    }

    /// Keeps only the files of the tokenizer: removes those about sentence vectors and text generation.
    #[must_use]
    pub fn without_model(mut self) -> Self {
        let modules = self.modules().unwrap_or_default().unwrap_or_default();
        let of_modules: Vec<String> = modules.iter().map(|module| module.file("config.json")).collect();
        let of_model = [&OF_DIRECTORY[..], &[SENTENCE_CONFIG, GENERATION_CONFIG]].concat();
        self.0.retain(|name, _| !of_model.contains(&name.as_str()) && !of_modules.contains(name));
        self
    }

    /// Parsed JSON contents of a file; None if it does not exist.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>> {
        let Some(bytes) = self.0.get(name) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|e| Error::Data(format!("{name}: not valid JSON: {e}")))
    }

    /// Sets the tokenizer class if `tokenizer_config.json` names none; `config.json` may name one.
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
