//! Paths that are no model's: what lies there instead, and what to give.

use std::path::Path;

use serde_json::Value;

use crate::error::Error;

/// Of a path that is no directory with a `config.json`.
pub(super) fn not_a_model(path: &Path) -> Error {
    if path.is_file() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        return Error::Value(format!(
            "{}: is a file; give the directory that holds it, {}, with config.json and the tokenizer beside the weights \
             (only a GGUF file is a model by itself)",
            path.display(),
            parent.unwrap_or_else(|| Path::new(".")).display()
        ));
    }
    if !path.is_dir() {
        let hint = "; expected a directory with config.json and weights".into();
        return Error::NotFound { path: path.to_path_buf(), hint };
    }
    let hint = adapter_hint(path).unwrap_or_default();
    Error::NotFound { path: path.join("config.json"), hint }
}

/// Of a directory without weights, which are in one of the files `names`.
pub(super) fn no_weights(dir: &Path, names: &[&str]) -> Error {
    let expected = || format!("; a model directory holds one of {}, or one GGUF file", names.join(", "));
    let hint = adapter_hint(dir).unwrap_or_else(expected);
    Error::NotFound { path: dir.join(names.first().unwrap_or(&"")), hint }
}

/// What a directory with a PEFT adapter says of its base.
fn adapter_hint(dir: &Path) -> Option<String> {
    let bytes = std::fs::read(dir.join("adapter_config.json")).ok()?;
    let config: Value = serde_json::from_slice(&bytes).ok()?;
    let base = config.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or("not named");
    let kind = config.get("peft_type").and_then(Value::as_str).unwrap_or("unnamed");
    Some(format!(
        "; the directory holds a PEFT adapter alone (adapter_config.json, {kind}), whose base model is {base:?}: open that, or \
         write both together with peft, AutoPeftModel.from_pretrained(path).merge_and_unload().save_pretrained(new), and \
         open new"
    ))
}
