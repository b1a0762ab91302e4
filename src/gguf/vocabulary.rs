//! The vocabulary of a GGUF file, with the attributes of each token.

use super::metadata::Metadata;
use super::reader::Checked;

/// Token types (`tokenizer.ggml.token_type`).
pub(super) const UNKNOWN: f64 = 2.0;
pub(super) const CONTROL: f64 = 3.0;
pub(super) const USER_DEFINED: f64 = 4.0;

/// The format itself misspells this key.
pub(super) const SEPARATOR: &str = "seperator";

/// The vocabulary in the order of the file.
pub(super) struct Vocabulary<'a> {
    pub metadata: &'a Metadata,
    pub file: &'a [u8],
    pub tokens: Vec<&'a str>,
}

impl<'a> Vocabulary<'a> {
    /// Text and id of the special token that the metadata names under `key`.
    pub fn special(&self, key: &str) -> Checked<Option<(&'a str, u32)>> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = self.metadata.count(&key)? else { return Ok(None) };
        match self.tokens.get(id) {
            Some(token) => Ok(Some((token, id as u32))),
            None => Err(format!("{key} is {id}, but there are {} tokens", self.tokens.len())),
        }
    }

    /// Ids by token; a duplicate token is an error.
    pub fn ids(&self) -> Checked<tokenizers::models::bpe::Vocab> {
        let ids: tokenizers::models::bpe::Vocab =
            self.tokens.iter().enumerate().map(|(id, token)| ((*token).to_string(), id as u32)).collect();
        if ids.len() < self.tokens.len() {
            return Err(format!("has {} tokens, of which only {} differ", self.tokens.len(), ids.len()));
        }
        Ok(ids)
    }

    /// An array with one number per token; None if the file does not have it.
    pub fn numbers(&self, key: &str) -> Checked<Option<Vec<f64>>> {
        let numbers = self.metadata.numbers(key, self.file)?;
        match numbers {
            Some(numbers) if numbers.len() != self.tokens.len() => {
                Err(format!("has {} tokens, but {} {key}", self.tokens.len(), numbers.len()))
            }
            numbers => Ok(numbers),
        }
    }
}
