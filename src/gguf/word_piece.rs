//! WordPiece: `tokenizer.ggml.model` bert.

use serde_json::json;
use tokenizers::Tokenizer;

use super::header::Checked;
use super::tokenizer::Vocabulary;
use crate::text::settings::Settings;
use crate::text::word_piece;

/// Build the tokenizer. The file marks the beginning of a word with `▁`, a `vocab.txt` its continuation with `##`. Nothing in
/// it says whether text is lower-cased: it is, unless a token has a capital letter.
pub(super) fn build(vocabulary: &Vocabulary) -> Checked<Tokenizer> {
    let mut text = String::new();
    let mut is_cased = false;
    for token in &vocabulary.tokens {
        let is_special = token.starts_with('[') && token.ends_with(']');
        match token.strip_prefix('▁') {
            _ if token.contains(['\n', '\r']) => return Err(format!("has the token {token:?} with a line break")),
            _ if is_special => text.push_str(token),
            Some(word) => text.push_str(word),
            None => text.extend(["##", token]),
        }
        is_cased |= !is_special && token.chars().any(char::is_uppercase);
        text.push('\n');
    }
    let mut config = json!({"do_lower_case": !is_cased});
    for (ours, theirs) in [
        ("unknown", "unk_token"),
        ("bos", "cls_token"),
        ("cls", "cls_token"),
        ("eos", "sep_token"),
        // So spelled in the format.
        ("seperator", "sep_token"),
        ("padding", "pad_token"),
        ("mask", "mask_token"),
    ] {
        if let Some((token, _)) = vocabulary.special(ours)? {
            config[theirs] = json!(token);
        }
    }
    word_piece::build(text.as_bytes(), Settings::of_config(&config)).map_err(|e| e.to_string())
}
