//! Generation settings in the metadata: chat templates, end-of-text tokens, sampling parameters.

use serde_json::{Map, Value, json};

use super::metadata::{Metadata, Value as Entry, show};
use super::reader::Checked;
use crate::text::{CHAT_TEMPLATE, CHAT_TEMPLATES};

/// Chat templates, each with the name of the file that would hold it in a Hugging Face directory.
pub(super) fn chat_templates(metadata: &Metadata) -> Checked<Vec<(String, String)>> {
    let mut files = Vec::new();
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        files.push((CHAT_TEMPLATE.to_string(), template.to_string()));
    }
    for key in metadata.keys() {
        let Some(name) = key.strip_prefix("tokenizer.chat_template.") else { continue };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(format!("has the chat template {name:?}; expected a name of letters, digits, _ and -"));
        }
        if let Some(template) = metadata.text(key)? {
            files.push((format!("{CHAT_TEMPLATES}/{name}.jinja"), template.to_string()));
        }
    }
    Ok(files)
}

/// Contents of a `generation_config.json`. None if there are no sampling parameters and at most one end-of-text token.
pub(super) fn config(metadata: &Metadata) -> Checked<Option<Value>> {
    let mut config = Map::new();
    let mut ends = Vec::new();
    // End of text, end of turn, end of message.
    for key in ["eos", "eot", "eom"] {
        let id = metadata.count(&format!("tokenizer.ggml.{key}_token_id"))?;
        ends.extend(id.filter(|id| !ends.contains(id)));
    }
    if ends.len() > 1 {
        config.insert("eos_token_id".into(), json!(ends));
    }
    for key in metadata.keys() {
        let Some(name) = key.strip_prefix("general.sampling.") else { continue };
        let name = match name {
            "temp" => "temperature",
            "penalty_repeat" => "repetition_penalty",
            name => name,
        };
        let value = match metadata.get(key) {
            // A negative top_k means all tokens, as 0 does.
            Some(Entry::Integer(..0)) if name == "top_k" => json!(0),
            Some(Entry::Integer(n)) => json!(i64::try_from(*n).unwrap_or_default()),
            Some(Entry::Float(x)) => json!(x),
            Some(other) => json!(show(other)),
            None => Value::Null,
        };
        config.entry("do_sample").or_insert(json!(true));
        config.insert(name.into(), value);
    }
    Ok(Some(config).filter(|config| !config.is_empty()).map(Value::Object))
}
