//! The activation that sentence-transformers (6.2) applies to the outputs of a `CrossEncoder`; transformers ignores it. With
//! a single output and no activation named, that is a sigmoid.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::text::SENTENCE_TRANSFORMERS;

const ACTIVATION: &str = "activation_fn";
/// In `config.json`: the field of versions 4 and 5, which later ones still read, and that of versions before.
const FIELD: &str = "sentence_transformers";
const OLD_FIELD: &str = "sbert_ce_default_activation_function";
const IDENTITY: &str = "torch.nn.modules.linear.Identity";

/// The activation that a directory's `config_sentence_transformers.json` or its `config.json` names; none if it changes
/// nothing.
pub(super) fn activation(config: &Map<String, Value>, dir: &Path) -> Result<Option<String>> {
    let path = dir.join(SENTENCE_TRANSFORMERS);
    let mut file = Value::Null;
    if path.is_file() {
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        file = serde_json::from_slice(&text).map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
    }
    let named = [Some(&file), config.get(FIELD)].map(|fields| fields.and_then(|fields| fields.get(ACTIVATION)));
    let first = named.into_iter().chain([config.get(OLD_FIELD)]).flatten().find_map(Value::as_str);
    Ok(first.filter(|name| !name.ends_with("Identity")).map(String::from))
}

/// Name the identity in a `config.json`. Files that a cross-encoder has beside it are not kept.
pub(super) fn name_identity(config: &mut Map<String, Value>) {
    config.remove(OLD_FIELD);
    let fields = config.entry(FIELD).or_insert_with(|| json!({}));
    if !fields.is_object() {
        *fields = json!({});
    }
    fields[ACTIVATION] = IDENTITY.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

    /// The order in which `CrossEncoder` of sentence-transformers 6.2.0 looks.
    #[test]
    fn activation_when_several_places_name_one_is_the_first_and_the_identity_is_none() -> Checked {
        let config = |fields: Value| fields.as_object().cloned().unwrap_or_default();
        let (tanh, sigmoid) = ("torch.nn.modules.activation.Tanh", "torch.nn.modules.activation.Sigmoid");
        let directory = tempfile::tempdir()?;
        for (fields, file, expected) in [
            (json!({}), None, None),
            (json!({ OLD_FIELD: sigmoid }), None, Some(sigmoid)),
            (json!({ OLD_FIELD: sigmoid, FIELD: { ACTIVATION: tanh } }), None, Some(tanh)),
            (json!({ FIELD: { ACTIVATION: tanh } }), Some(json!(sigmoid)), Some(sigmoid)),
            (json!({ FIELD: { ACTIVATION: tanh } }), Some(json!(IDENTITY)), None),
            (json!({ FIELD: { ACTIVATION: tanh } }), Some(Value::Null), Some(tanh)),
            (json!({ FIELD: "no fields" }), None, None),
        ] {
            let (path, mut config) = (directory.path().join(SENTENCE_TRANSFORMERS), config(fields));
            match file {
                Some(name) => std::fs::write(&path, json!({ ACTIVATION: name }).to_string())?,
                None => drop(std::fs::remove_file(&path)),
            }
            assert_eq!(activation(&config, directory.path())?.as_deref(), expected, "{config:?}");
            name_identity(&mut config);
            assert_eq!((config[FIELD][ACTIVATION].as_str(), config.get(OLD_FIELD)), (Some(IDENTITY), None));
        }
        Ok(())
    }
}
