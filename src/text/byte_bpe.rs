//! Byte-level byte-pair encoding from `vocab.json` and `merges.txt`: GPT-2, RoBERTa, Qwen2.
//!
//! Components and defaults are those of `GPT2Tokenizer`, `RobertaTokenizer` and `Qwen2Tokenizer` of transformers 5.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::classes;
use super::settings::Settings;
use super::template::bos_eos;
use crate::error::{Error, Result};

/// Pre-tokenization pattern of Qwen2 (`PRETOKENIZE_REGEX`).
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Model family of a byte-level tokenizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Family {
    Gpt2,
    Roberta,
    Qwen2,
}

impl Family {
    fn of(settings: &Settings) -> Result<Self> {
        match (settings.class(), settings.model_type()) {
            (Some("GPT2Tokenizer"), _) | (None, Some("gpt2")) => Ok(Self::Gpt2),
            (Some("RobertaTokenizer"), _) | (None, Some("roberta")) => Ok(Self::Roberta),
            (Some("Qwen2Tokenizer"), _) | (None, Some("qwen2" | "qwen3")) => Ok(Self::Qwen2),
            (class, model_type) => Err(Error::Data(format!(
                "vocab.json and merges.txt: tokenizer_class is {}, model_type {}; supported: GPT2Tokenizer, \
                 RobertaTokenizer, Qwen2Tokenizer. Convert others to tokenizer.json with transformers.",
                class.map_or("not given".to_string(), |class| format!("{class:?}")),
                model_type.unwrap_or("not given")
            ))),
        }
    }
}

/// Builds the tokenizer from the contents of `vocab.json` and `merges.txt`.
pub(super) fn build(vocab: &[u8], merges: &[u8], settings: Settings) -> Result<Tokenizer> {
    let family = Family::of(&settings)?;
    let ids: HashMap<String, u32> =
        serde_json::from_slice(vocab).map_err(|e| Error::Data(format!("vocab.json: expected tokens and ids: {e}")))?;
    let merges = parse_merges(merges)?;
    // The library panics if a merge gives a token that is not in the vocabulary.
    if let Some((a, b)) = merges.iter().find(|(a, b)| !ids.contains_key(&format!("{a}{b}"))) {
        return Err(Error::Data(format!(
            "merges.txt: {a:.60?} and {b:.60?} make a token that vocab.json does not have"
        )));
    }
    let model = BPE::builder()
        .vocab_and_merges(ids.into_iter().collect::<Vocab>(), merges)
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(String::new())
        .build()
        .map_err(|e| Error::Data(format!("merges.txt: {e}")))?;
    assemble(model, family, settings)
}

fn parse_merges(merges: &[u8]) -> Result<Vec<(String, String)>> {
    let text = std::str::from_utf8(merges).map_err(|e| Error::Data(format!("merges.txt: not UTF-8: {e}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|(i, line)| match line.split_once(' ') {
            Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => Ok((a.into(), b.into())),
            _ => Err(Error::Data(format!("merges.txt: line {}: expected two tokens, got {line:.60?}", i + 1))),
        })
        .collect()
}

/// Adds the family's other components to a trained or loaded model.
pub(super) fn assemble(model: BPE, family: Family, mut settings: Settings) -> Result<Tokenizer> {
    let bad = |e: tokenizers::Error| Error::Data(format!("tokenizer: {e}"));
    let add_prefix_space = settings.flag("add_prefix_space", false);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_decoder(Some(ByteLevel::default()));
    if family == Family::Qwen2 {
        tokenizer.with_normalizer(Some(NFC)).map_err(bad)?;
        let words = SplitPattern::Regex(QWEN2_WORDS.into());
        let words = Split::new(words, SplitDelimiterBehavior::Isolated, false).map_err(bad)?;
        let bytes = ByteLevel::new(add_prefix_space, true, false);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
    } else {
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(add_prefix_space, true, true)));
    }
    let defaults = match family {
        Family::Gpt2 => classes::GPT2,
        Family::Qwen2 => classes::QWEN2,
        Family::Roberta => classes::ROBERTA,
    };
    for (key, token) in defaults {
        settings.default_token(key, Some(token));
    }
    settings.add_tokens(&mut tokenizer)?;
    if family == Family::Roberta {
        let (sep, cls) = (settings.with_id(&tokenizer, "sep_token")?, settings.with_id(&tokenizer, "cls_token")?);
        let processing = RobertaProcessing::new(sep, cls)
            .trim_offsets(settings.flag("trim_offsets", true))
            .add_prefix_space(add_prefix_space);
        tokenizer.with_post_processor(Some(processing));
    } else {
        bos_eos(&mut tokenizer, &settings, false)?;
    }
    Ok(tokenizer)
}

/// Sets whether a text that does not begin with a space gets one; tokenizers that are not byte-level stay as they are.
pub(super) fn set_prefix_space(tokenizer: &mut Tokenizer, add_prefix_space: bool) {
    // Only a pre-tokenizer by itself: within a sequence of them, each word would get a space.
    if let Some(PreTokenizerWrapper::ByteLevel(bytes)) = tokenizer.get_pre_tokenizer() {
        let bytes = bytes.add_prefix_space(add_prefix_space);
        tokenizer.with_pre_tokenizer(Some(bytes));
    }
}
