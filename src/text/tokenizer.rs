//! A tokenizer read from a model directory.

use std::panic::catch_unwind;

use rayon::prelude::*;
use tokenizers::{EncodeInput, Encoding, TruncationParams};

use super::encodings::{Encoded, Encodings};
use super::side_files::SideFiles;
use super::word_piece;
use crate::compute::in_pool;
use crate::error::{Error, Result};

/// Values of `model_max_length` from here on mean "no limit".
const NO_LIMIT: u64 = 1_000_000;

/// Texts to tokens.
pub struct Tokenizer {
    /// Without padding and truncation, whatever its file says.
    inner: tokenizers::Tokenizer,
    max_length: Option<usize>,
}

impl Tokenizer {
    /// From `tokenizer.json`, else from `vocab.txt` with `tokenizer_config.json`.
    pub fn from_files(files: &SideFiles) -> Result<Self> {
        let config = files.json("tokenizer_config.json")?.unwrap_or_default();
        let mut inner = match (files.0.get("tokenizer.json"), files.0.get("vocab.txt")) {
            (Some(json), _) => parse(json)?,
            (None, Some(vocab)) => word_piece::build(vocab, &config)?,
            (None, None) => {
                return Err(Error::Data("no tokenizer: expected tokenizer.json or vocab.txt beside the model".into()));
            }
        };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::Data(format!("tokenizer: {e}")))?;
        let limit = config.get("model_max_length").and_then(serde_json::Value::as_u64);
        Ok(Self { inner, max_length: limit.filter(|&n| n < NO_LIMIT).map(|n| n as usize) })
    }

    /// The longest input in tokens that the tokenizer's configuration names.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The largest token id, and one more.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The tokenizer as the text of a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| Error::Data(format!("tokenizer: {e}")))
    }

    /// Encode texts, or pairs of texts, in parallel, each cut to `max_length` tokens (of a pair, the longer text first).
    pub fn encode(&self, texts: &[String], pairs: Option<&[String]>, max_length: usize) -> Result<Encodings> {
        let specials = self.inner.get_post_processor().map_or(0, |p| {
            use tokenizers::PostProcessor;
            p.added_tokens(pairs.is_some())
        });
        if max_length <= specials {
            return Err(Error::Value(format!(
                "max_length={max_length}: {specials} special tokens leave no room for text; give at least {}",
                specials + 1
            )));
        }
        if pairs.is_some_and(|p| p.len() != texts.len()) {
            return Err(Error::Value(format!(
                "got {} texts and {:?} second texts",
                texts.len(),
                pairs.map(<[_]>::len)
            )));
        }
        let mut cutting = self.inner.clone();
        cutting
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(|e| Error::Value(format!("max_length={max_length}: {e}")))?;
        let encode = |i: usize| -> Result<Encoded> {
            let input: EncodeInput = match pairs {
                Some(pairs) => (texts[i].as_str(), pairs[i].as_str()).into(),
                None => texts[i].as_str().into(),
            };
            let encoding = cutting
                .encode_char_offsets(input, true)
                .map_err(|e| Error::Data(format!("text {i}: cannot be tokenised: {e}")))?;
            compact(&encoding).ok_or_else(|| Error::Data(format!("text {i}: the tokenizer gives segments above 255")))
        };
        let encoded: Result<Vec<Encoded>> = in_pool(|| (0..texts.len()).into_par_iter().map(encode).collect());
        Ok(Encodings::collect(encoded?, max_length))
    }
}

/// `tokenizers` panics on some files: on what is not JSON where the decoder is, on a normaliser that is described wrongly.
fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    let bad = |e: String| Error::Data(format!("tokenizer.json: cannot be read: {e}"));
    let text = std::str::from_utf8(json).map_err(|e| bad(e.to_string()))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| bad(e.to_string()))?;
    catch_unwind(|| tokenizers::Tokenizer::from_bytes(json))
        .map_err(|_| bad("a part of it is described wrongly".into()))?
        .map_err(|e| bad(e.to_string()))
}

/// None if a segment does not fit.
fn compact(encoding: &Encoding) -> Option<Encoded> {
    Some(Encoded {
        ids: encoding.get_ids().to_vec(),
        segments: encoding.get_type_ids().iter().map(|&s| u8::try_from(s).ok()).collect::<Option<_>>()?,
        offsets: encoding.get_offsets().iter().map(|&(a, b)| (a as u32, b as u32)).collect(),
        truncated: !encoding.get_overflowing().is_empty(),
    })
}
