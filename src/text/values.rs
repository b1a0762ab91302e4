//! Values in the JSON files beside a tokenizer: type checks, and tokens.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Error, Result};

/// Keys of special tokens, in the order in which tokens missing from the vocabulary are appended to it.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Boolean options.
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

/// Checks that values have the type that their readers expect; a value of another type would be ignored silently. Null
/// means not set.
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

/// A number of tokens. "No limit" is written as a number beyond the range of integers, or as a float.
pub(super) fn length(value: &Value) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && *number >= 1.0;
    value.as_u64().filter(|n| *n > 0).or_else(|| value.as_f64().filter(whole).map(|number| number as u64))
}

/// Whether the value is a token: its text, or an object whose flags are booleans.
pub(super) fn is_token(value: &Value) -> bool {
    let flags = ["lstrip", "rstrip", "single_word", "normalized", "special"];
    text(value).is_some() && flags.iter().all(|flag| value.get(flag).is_none_or(Value::is_boolean))
}

/// Tokens given as a list, or as an object of named tokens.
pub(super) fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(tokens) => tokens.iter().collect(),
        Value::Object(tokens) => tokens.values().collect(),
        _ => Vec::new(),
    }
}

/// Text of a token, which is given as a string or as an object with `content`.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

pub(super) fn parse(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str, default: bool| value.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", special);
    let token = AddedToken::from(text(value)?, special).normalized(flag("normalized", !special));
    Some(token.lstrip(flag("lstrip", false)).rstrip(flag("rstrip", false)).single_word(flag("single_word", false)))
}
