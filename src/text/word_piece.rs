//! A BERT tokenizer from `vocab.txt` and `tokenizer_config.json`, for directories without `tokenizer.json`.
//!
//! Same parts and defaults as `BertTokenizerFast` (transformers 5): clean text, split Chinese characters, lower-case with
//! accents stripped unless the configuration says otherwise, `[CLS] a [SEP] b [SEP]`.

use serde_json::Value;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{Error, Result};

/// Build the tokenizer. `config` is the parsed `tokenizer_config.json`, or null.
pub(crate) fn build(vocab: &[u8], config: &Value) -> Result<Tokenizer> {
    let text = std::str::from_utf8(vocab).map_err(|e| Error::Data(format!("vocab.txt: not UTF-8: {e}")))?;
    let tokens: Vec<&str> = text.lines().map(str::trim_end).collect();

    let special = |key: &str, default: &str| -> Result<(String, u32)> {
        let token = config.get(key).and_then(token_text).unwrap_or(default).to_string();
        let id = tokens.iter().position(|t| *t == token).ok_or_else(|| {
            Error::Data(format!("vocab.txt: {key} {token:?} is not among its {} tokens", tokens.len()))
        })?;
        Ok((token, id as u32))
    };
    let (unk, cls, sep) =
        (special("unk_token", "[UNK]")?, special("cls_token", "[CLS]")?, special("sep_token", "[SEP]")?);
    let bad = |e: tokenizers::Error| Error::Data(format!("vocab.txt: {e}"));
    let ids = WordPiece::read_bytes(vocab).map_err(bad)?;
    let model = WordPiece::builder().vocab(ids).unk_token(unk.0.clone()).build().map_err(bad)?;

    let flag = |key: &str, default: bool| config.get(key).and_then(Value::as_bool).unwrap_or(default);
    let mut tokenizer = Tokenizer::new(model);
    let normalizer = BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars", true),
        config.get("strip_accents").and_then(Value::as_bool),
        flag("do_lower_case", true),
    );
    tokenizer.with_normalizer(Some(normalizer)).map_err(bad)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep.clone(), cls.clone())));
    let mut specials = vec![unk.0, cls.0, sep.0];
    for (key, default) in [("pad_token", "[PAD]"), ("mask_token", "[MASK]")] {
        // Classification needs neither: a vocabulary without them is fine.
        specials.extend(special(key, default).ok().map(|(token, _)| token));
    }
    let specials = specials.into_iter().map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(specials).map_err(bad)?;
    Ok(tokenizer)
}

/// A token is written as its text, or as an object with a `content`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
