//! Values in the JSON files beside a tokenizer: their types, and tokens among them.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Error, Result};

/// Named special tokens in the order in which those that the vocabulary lacks are appended to it.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Options that are true or false.
const FLAGS: [&str; 10] = [
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "do_lower_case",
    "keep_accents",
    "legacy",
    "split_special_tokens",
    "strip_accents",
    "tokenize_chinese_chars",
    "trim_offsets",
];

/// Refuse values of another type than what reads them takes, which would count for nothing else. Null says nothing.
pub(super) fn check(file: &str, config: &Map<String, Value>) -> Result<()> {
    let list_of =
        |value: &Value, is_one: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(is_one));
    for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
        let (fits, expected) = match key.as_str() {
            key if FLAGS.contains(&key) => (value.is_boolean(), "true or false"),
            key if NAMED.contains(&key) => (is_token(value), "the text of a token, or an object with its content"),
            "additional_special_tokens" => (list_of(value, is_token), "a list of tokens"),
            "extra_special_tokens" => {
                let named = value.as_object().is_some_and(|tokens| tokens.values().all(is_token));
                (named || list_of(value, is_token), "a list of tokens, or tokens by names of their own")
            }
            "added_tokens_decoder" => (value.is_object(), "an object of ids and tokens"),
            "model_max_length" | "max_len" => (length(value).is_some(), "a whole number of tokens, 1 or more"),
            "model_input_names" => (list_of(value, Value::is_string), "a list of names"),
            "tokenizer_class" => (value.is_string(), "the name of a class"),
            _ => continue,
        };
        if !fits {
            return Err(Error::Data(format!("{file}: {key} is {:.80}; expected {expected}", value.to_string())));
        }
    }
    Ok(())
}

/// A number of tokens; "no limit" is written as a number beyond all integers, or as a float.
pub(super) fn length(value: &Value) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && *number >= 1.0;
    value.as_u64().filter(|n| *n > 0).or_else(|| value.as_f64().filter(whole).map(|number| number as u64))
}

/// Whether this is a token, as its text or as an object whose flags are true or false.
pub(super) fn is_token(value: &Value) -> bool {
    let flags = ["lstrip", "rstrip", "single_word", "normalized", "special"];
    text(value).is_some() && flags.iter().all(|flag| value.get(flag).is_none_or(Value::is_boolean))
}

/// Tokens written as a list, or by names of their own.
pub(super) fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(tokens) => tokens.iter().collect(),
        Value::Object(tokens) => tokens.values().collect(),
        _ => Vec::new(),
    }
}

/// A token is written as its text, or as an object with a `content`.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

pub(super) fn parse(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str, default: bool| value.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", special);
    let token = AddedToken::from(text(value)?, special).normalized(flag("normalized", !special));
    Some(token.lstrip(flag("lstrip", false)).rstrip(flag("rstrip", false)).single_word(flag("single_word", false)))
}
