//! Paths that are no model's, or of more than a model: what lies there, and what to give.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// What peft writes of an adapter: what it is, and its weights.
pub(super) const ADAPTER_FILES: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"];

/// Characters of what stands in a file instead of what should.
const SHOWN: usize = 40;

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

/// See that no adapter lies beside the weights in `dir`: transformers with peft applies it. Where it lies, peft 0.21 applies it
/// twice, so that it must go to a folder of its own to be merged.
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

/// What a directory with a PEFT adapter alone says of its base.
fn adapter_hint(dir: &Path) -> Option<String> {
    let adapter = adapter(dir)?;
    Some(format!(
        "; the directory holds {adapter}, and no model beside it: open its base model, or write both together with peft, \
        AutoPeftModel.from_pretrained(path).merge_and_unload().save_pretrained(new), and open new"
    ))
}

/// What the adapter of a directory is, if there is one.
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
