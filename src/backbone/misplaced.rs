//! Error messages for paths that hold no model, or a model with a PEFT adapter: what is there, and what to pass
//! instead.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// Files that peft writes for an adapter: its configuration, and its weights.
pub(super) const ADAPTER_FILES: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"];

/// Most characters of a file's unexpected content in an error message.
const SHOWN: usize = 40;

/// The error for a path that is no directory with a `config.json`.
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

/// The error for a directory without weights, which are expected in one of the files `names`.
pub(super) fn no_weights(dir: &Path, names: &[&str]) -> Error {
    let expected = || format!("; a model directory holds one of {}, or one GGUF file", names.join(", "));
    let hint = adapter_hint(dir).unwrap_or_else(expected);
    Error::NotFound { path: dir.join(names.first().unwrap_or(&"")), hint }
}

/// Refuse a directory with an adapter beside the weights, which transformers with peft would apply. If it stays there,
/// peft 0.21 applies it twice, so to be merged it must be moved to its own folder.
pub(super) fn refuse_adapter(dir: &Path) -> Result<()> {
    match adapter(dir) {
        None => Ok(()),
        Some(adapter) => Err(Error::Value(format!(
            "{}: the directory also holds {adapter}. Adapters are not applied: move {} and its weights to a folder of \
             their own, and open the model without it, or what peft makes of both, \
             PeftModel.from_pretrained(AutoModel.from_pretrained(path), folder).merge_and_unload().save_pretrained(new)",
            dir.display(),
            ADAPTER_FILES[0]
        ))),
    }
}

/// A hint for a directory that holds only a PEFT adapter: its base model.
fn adapter_hint(dir: &Path) -> Option<String> {
    let adapter = adapter(dir)?;
    Some(format!(
        "; the directory holds {adapter}, and no model beside it: open its base model, or write both together with peft, \
        AutoPeftModel.from_pretrained(path).merge_and_unload().save_pretrained(new), and open new"
    ))
}

/// A description of the adapter in a directory, if there is one.
fn adapter(dir: &Path) -> Option<String> {
    let file = ADAPTER_FILES[0];
    let path = dir.join(file);
    if !path.is_file() {
        return None;
    }
    let config = match std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(Value::Object(config))) => config,
        Ok(Ok(other)) => {
            let got: String = other.to_string().chars().take(SHOWN).collect();
            return Some(format!("a broken PEFT adapter ({file}: expected a JSON object, got {got})"));
        }
        Ok(Err(e)) => return Some(format!("a broken PEFT adapter ({file}: not valid JSON: {e})")),
        Err(e) => return Some(format!("a PEFT adapter that cannot be read ({file}: {e})")),
    };
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let kind = text("peft_type").map_or_else(|| "no peft_type".into(), String::from);
    let base = text("base_model_name_or_path")
        .map_or_else(|| "not named (base_model_name_or_path)".into(), |base| format!("{base:?}"));
    Some(format!("a PEFT adapter ({file}, {kind}), whose base model is {base}"))
}
