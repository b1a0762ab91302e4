//! Special tokens: those added around a text, and those with a role.

use tokenizers::{Encoding, Model};

use super::settings::Settings;
use super::side_files::SideFiles;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// Role of a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Replaces a token that is to be predicted.
    Mask,
    /// Ends a document.
    End,
    /// Pads the shorter texts of a batch. This library never pads; others do.
    Pad,
}

/// Special tokens added before and after a single text, as (id, segment id).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub before: Vec<(u32, u8)>,
    pub after: Vec<(u32, u8)>,
    /// Segment id of the text's own tokens.
    pub segment: u8,
}

impl Frame {
    /// Number of special tokens in each sequence.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// True if no special tokens are added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tokenizer {
    /// Special tokens that the tokenizer adds around a single text.
    pub fn frame(&self) -> Result<Frame> {
        let failed = |e: &dyn std::fmt::Display| Error::Data(format!("tokenizer: {e}"));
        let encoding: Encoding = self.inner.encode("a", true).map_err(|e| failed(&e))?;
        let special = encoding.get_special_tokens_mask();
        let own = special.iter().position(|&special| special == 0);
        let Some((first, last)) = own.zip(special.iter().rposition(|&special| special == 0)) else {
            return Err(failed(&"gives no token for the letter a"));
        };
        let segments = self.segments(&encoding).ok_or_else(|| failed(&"gives segments above 255"))?;
        let token = |i: usize| (encoding.get_ids()[i], segments[i]);
        Ok(Frame {
            before: (0..first).map(token).collect(),
            after: (last + 1..special.len()).map(token).collect(),
            segment: segments[first],
        })
    }

    /// Ids of all special tokens, sorted.
    pub fn special_ids(&self) -> Vec<u32> {
        let decoder = self.inner.get_added_tokens_decoder();
        let mut ids: Vec<u32> = decoder.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Id of the unknown token: the one that the model gives for an unassigned character.
    pub fn unknown_id(&self) -> Option<u32> {
        let tokens = self.inner.get_model().tokenize("\u{10ffff}").ok()?;
        let [token] = &tokens[..] else { return None };
        self.special_ids().binary_search(&token.id).ok().map(|_| token.id)
    }

    /// Text of a token.
    pub fn text_of(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Tokens with ids of at least `rows`, in the order of their ids.
    pub fn beyond(&self, rows: usize) -> Vec<(u32, String)> {
        let all = self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token));
        let mut beyond: Vec<(u32, String)> = all.filter(|(id, _)| *id as usize >= rows).collect();
        beyond.sort_unstable();
        beyond
    }

    /// True if the token is not in the model's own vocabulary.
    pub fn is_added(&self, token: &str) -> bool {
        self.inner.get_model().token_to_id(token).is_none()
    }

    /// The token with a role: the one named by the files beside the tokenizer, else by `config.json`, else a special
    /// token with a common name.
    pub fn with_role(
        &self,
        role: Role,
        files: &SideFiles,
        config: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Option<u32>> {
        let (key, common): (&str, &[&str]) = match role {
            Role::Mask => ("mask_token", &["[MASK]", "<mask>"]),
            Role::End => ("eos_token", &["<|endoftext|>", "</s>", "<|im_end|>", "<eop>", "[SEP]"]),
            Role::Pad => ("pad_token", &["<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>"]),
        };
        let settings = Settings::read(files, None)?;
        let named = settings.token(key).and_then(|token| self.inner.token_to_id(token));
        let id =
            config.get(&format!("{key}_id")).and_then(|value| value.as_array().map_or(Some(value), |all| all.first()));
        let id = id.and_then(serde_json::Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let id = id.filter(|id| self.inner.id_to_token(*id).is_some());
        Ok(named.or(id).or_else(|| common.iter().find_map(|token| self.inner.token_to_id(token))))
    }
}
