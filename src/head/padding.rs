//! Padding token of a classifier that reads the last token of a text. Nothing is padded here, but transformers runs
//! such a classifier on several texts only if `config.json` names a padding token, and takes the last token that is not
//! padding.

use serde_json::{Map, Value, json};

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::text::{Role, SideFiles};

/// Id and text of the padding token that a saved classifier names: the one in its files, else a special token with a
/// common name, else the end-of-text token, as is custom. A token that the tokenizer appends to every text is never
/// chosen: it would be skipped where it should be read. None if there is no such token.
pub(super) fn token(backbone: &Backbone) -> Result<Option<(u32, String)>> {
    let tokenizer = &backbone.tokenizer;
    if !backbone.config.is_causal() {
        return Ok(None);
    }
    let (special, frame) = (tokenizer.special_ids(), tokenizer.frame()?);
    let last = frame.after.last().map(|&(id, _)| id);
    for role in [Role::Pad, Role::End] {
        let id = tokenizer.with_role(role, &backbone.side_files, &backbone.config.raw)?;
        let fits = |id: &u32| {
            Some(*id) != last && (*id as usize) < backbone.config.vocab_size && special.binary_search(id).is_ok()
        };
        if let Some(found) = id.filter(fits).and_then(|id| Some((id, tokenizer.text_of(id)?))) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The model's side files with this padding token named in them.
pub(super) fn name_in(files: &SideFiles, token: &str) -> Result<SideFiles> {
    let mut named = files.clone();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let mut fields = match files.json(name)? {
            Some(Value::Object(fields)) => fields,
            None if name == "tokenizer_config.json" => Map::new(),
            _ => continue,
        };
        let present =
            fields.get("pad_token").and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
        if present != Some(token) {
            fields.insert("pad_token".into(), json!(token));
            let text = serde_json::to_vec_pretty(&fields).map_err(|e| Error::Data(format!("{name}: {e}")))?;
            named.0.insert(name.into(), text);
        }
    }
    Ok(named)
}
