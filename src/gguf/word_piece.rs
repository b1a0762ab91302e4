//! WordPiece: `tokenizer.ggml.model` is bert.

use serde_json::json;
use tokenizers::Tokenizer;

use super::reader::Checked;
use super::vocabulary::{CONTROL, SEPARATOR, Vocabulary};
use crate::text::settings::Settings;
use crate::text::word_piece;

/// Converters write these keys since June 2026.
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";

/// A vocabulary counts as lower-cased if at most this share of its words with letters has capitals: only tokens added
/// later have any.
const FEW_CAPITALS: f64 = 0.005;
/// A vocabulary counts as cased from this share on: the cased vocabularies of BERT have a third and more.
const MANY_CAPITALS: f64 = 0.05;

/// Builds the tokenizer. The file marks the beginning of a word with `▁`, a `vocab.txt` marks its continuation with
/// `##`.
pub(super) fn build(vocabulary: &Vocabulary) -> Checked<Tokenizer> {
    let kinds = vocabulary.numbers("tokenizer.ggml.token_type")?.unwrap_or_default();
    let mut text = String::new();
    let mut words = Vec::new();
    for (i, token) in vocabulary.tokens.iter().enumerate() {
        let is_control = kinds.get(i) == Some(&CONTROL) || token.starts_with('[') && token.ends_with(']');
        match token.strip_prefix('▁') {
            _ if token.contains(['\n', '\r']) => return Err(format!("has the token {token:?} with a line break")),
            _ if is_control => text.push_str(token),
            Some(word) => {
                words.push(word);
                text.push_str(word);
            }
            None => {
                words.push(*token);
                text.extend(["##", *token]);
            }
        }
        text.push('\n');
    }
    let do_lower_case = match vocabulary.metadata.flag(LOWERCASE)? {
        Some(flag) => flag,
        None => is_lower_case(&words)?,
    };
    // If the file does not say, accents are stripped where text is lower-cased, as in transformers and llama.cpp.
    let strip_accents = vocabulary.metadata.flag(STRIP_ACCENTS)?;
    let mut config = json!({"do_lower_case": do_lower_case, "strip_accents": strip_accents});
    for (ours, theirs) in [
        ("unknown", "unk_token"),
        ("bos", "cls_token"),
        ("cls", "cls_token"),
        ("eos", "sep_token"),
        (SEPARATOR, "sep_token"),
        ("padding", "pad_token"),
        ("mask", "mask_token"),
    ] {
        if let Some((token, _)) = vocabulary.special(ours)? {
            config[theirs] = json!(token);
        }
    }
    word_piece::build(text.as_bytes(), Settings::of_config(&config)).map_err(|e| e.to_string())
}

/// Tells whether the vocabulary is of lower-cased text, which never gives a token with a letter that lower-casing
/// changes. Markers such as `<S>` and `[unused1]`, and letters without a lower-case form such as ℝ, do not count.
fn is_lower_case(words: &[&str]) -> Checked<bool> {
    let is_marker = |word: &str| {
        [('<', '>'), ('[', ']')].iter().any(|&(open, close)| word.starts_with(open) && word.ends_with(close))
    };
    let is_capital = |c: char| !c.to_lowercase().eq([c]);
    let has_letters = |word: &&&str| !is_marker(word) && word.chars().any(|c| c.is_lowercase() || is_capital(c));
    let letters: Vec<_> = words.iter().filter(has_letters).collect();
    let capitals = letters.iter().filter(|word| word.chars().any(is_capital)).count();
    match capitals as f64 / letters.len().max(1) as f64 {
        share if share <= FEW_CAPITALS => Ok(true),
        share if share >= MANY_CAPITALS => Ok(false),
        _ => Err(format!(
            "has no {LOWERCASE}, and {capitals} of its {} words have capital letters: too many for a vocabulary of \
             lower-cased text, too few for another; convert the model anew with llama.cpp of June 2026 or later, which \
             writes that key",
            letters.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vocabulary_is_lower_case_if_hardly_a_word_has_a_capital_that_lower_casing_takes() {
        // Vocabularies like bert-base-uncased, bert-base-chinese, and those with words added later.
        let lower: Vec<String> = (0..400).map(|i| format!("word{i}")).collect();
        let with = |more: &[&str]| -> Checked<bool> {
            let words: Vec<&str> = lower.iter().map(String::as_str).chain(more.iter().copied()).collect();
            is_lower_case(&words)
        };
        assert_eq!(with(&[]), Ok(true));
        assert_eq!(with(&["ℝ", "ℝ", "<S>", "<T>", "[PAD]", "[unused1]", "ß", "ı", "我", "가"]), Ok(true));
        assert_eq!(with(&["COVID", "Pfizer"]), Ok(true));
        let capitals: Vec<String> = (0..40).map(|i| format!("Word{i}")).collect();
        let capitals: Vec<&str> = capitals.iter().map(String::as_str).collect();
        assert_eq!(with(&capitals), Ok(false));
        assert_eq!(is_lower_case(&["我", "爱", "1"]), Ok(true));
        let unclear = with(&capitals[..8]);
        assert!(unclear.as_ref().is_err_and(|e| e.contains("8 of its 408 words have capital letters")), "{unclear:?}");
    }
}
