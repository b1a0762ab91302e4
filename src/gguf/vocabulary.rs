//! The tokens of a GGUF file's metadata, with what it says of each.

use super::metadata::Metadata;
use super::reader::Checked;

/// Types of tokens (`tokenizer.ggml.token_type`).
pub(super) const UNKNOWN: f64 = 2.0;
pub(super) const CONTROL: f64 = 3.0;
pub(super) const USER_DEFINED: f64 = 4.0;

/// So spelled in the format.
pub(super) const SEPARATOR: &str = "seperator";

/// The vocabulary as the file has it.
pub(super) struct Vocabulary<'a> {
    pub metadata: &'a Metadata,
    pub file: &'a [u8],
    pub tokens: Vec<&'a str>,
}

impl<'a> Vocabulary<'a> {
    /// The token whose id the metadata gives under `key`.
    pub fn special(&self, key: &str) -> Checked<Option<(&'a str, u32)>> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = self.metadata.count(&key)? else { return Ok(None) };
        match self.tokens.get(id) {
            Some(token) => Ok(Some((token, id as u32))),
            None => Err(format!("{key} is {id}, but there are {} tokens", self.tokens.len())),
        }
    }

    /// The vocabulary by token; a token that is there twice is an error.
    pub fn ids(&self) -> Checked<tokenizers::models::bpe::Vocab> {
        let ids: tokenizers::models::bpe::Vocab =
            self.tokens.iter().enumerate().map(|(id, token)| ((*token).to_string(), id as u32)).collect();
        if ids.len() < self.tokens.len() {
            return Err(format!("has {} tokens, of which only {} differ", self.tokens.len(), ids.len()));
        }
        Ok(ids)
    }

    /// A number for each token, if the array is there.
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
