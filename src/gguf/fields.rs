//! The metadata of one architecture, keys `{architecture}.{key}`. Each key must be used, or the file is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::header::Stored;
use super::metadata::{Metadata, show};
use super::reader::Checked;

/// Input of an architecture's `config` function: the metadata and tensor shapes, with a record of the keys used.
pub(super) struct Fields<'a> {
    metadata: &'a Metadata,
    tensors: &'a BTreeMap<String, Stored>,
    prefix: String,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    pub fn new(metadata: &'a Metadata, tensors: &'a BTreeMap<String, Stored>, architecture: &str) -> Self {
        Self { metadata, tensors, prefix: format!("{architecture}."), used: RefCell::default() }
    }

    fn key(&self, key: &str) -> String {
        let key = format!("{}{key}", self.prefix);
        self.used.borrow_mut().insert(key.clone());
        key
    }

    pub fn count(&self, key: &str) -> Checked<usize> {
        self.optional_count(key)?.ok_or_else(|| format!("has no {}{key}", self.prefix))
    }

    pub fn optional_count(&self, key: &str) -> Checked<Option<usize>> {
        self.metadata.count(&self.key(key))
    }

    pub fn number(&self, key: &str) -> Checked<f64> {
        self.optional_number(key)?.ok_or_else(|| format!("has no {}{key}", self.prefix))
    }

    pub fn optional_number(&self, key: &str) -> Checked<Option<f64>> {
        self.metadata.number(&self.key(key))
    }

    pub fn optional_flag(&self, key: &str) -> Checked<Option<bool>> {
        self.metadata.flag(&self.key(key))
    }

    pub fn optional_text(&self, key: &str) -> Checked<Option<&'a str>> {
        self.metadata.text(&self.key(key))
    }

    /// Shape of the tensor with this GGUF name.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.get(tensor).map(|stored| stored.shape.as_slice())
    }

    /// Number of rows of the matrix with this GGUF name.
    pub fn rows(&self, tensor: &str) -> Checked<usize> {
        match self.shape(tensor) {
            Some([rows, _]) => Ok(*rows),
            Some(shape) => Err(format!("tensor {tensor:?} has shape {shape:?}; expected a matrix")),
            None => Err(format!("has no tensor {tensor:?}")),
        }
    }

    /// Vocabulary size: the rows of the embedding table. If the metadata has `vocab_size`, it must agree.
    pub fn vocab_size(&self) -> Checked<usize> {
        let rows = self.rows("token_embd.weight")?;
        match self.optional_count("vocab_size")? {
            Some(size) if size != rows => {
                Err(format!("{}vocab_size is {size}, but token_embd.weight has {rows} rows", self.prefix))
            }
            _ => Ok(rows),
        }
    }

    /// Copies the ids of the special tokens into `config`, under their names in a `config.json`.
    pub fn special_ids(&self, config: &mut Map<String, Value>) -> Checked<()> {
        for (key, name) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
            if let Some(id) = self.metadata.count(&format!("tokenizer.ggml.{key}_token_id"))? {
                config.insert(name.into(), json!(id));
            }
        }
        Ok(())
    }

    /// An error if a key of this architecture was not used: it would change what the model computes.
    pub fn finish(self) -> Checked<()> {
        let used = self.used.borrow();
        let unused = self.metadata.keys().find(|key| key.starts_with(&self.prefix) && !used.contains(*key));
        match unused.and_then(|key| Some((key, self.metadata.get(key)?))) {
            Some((key, value)) => Err(format!("{key} is {}; such a model is not supported", show(value))),
            None => Ok(()),
        }
    }
}
