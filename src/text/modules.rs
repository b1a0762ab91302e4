//! The modules of a sentence-transformers directory, as its `modules.json` lists them.

use serde_json::Value;

use super::side_files::{MODULES, SideFiles};
use crate::error::{Error, Result};

/// A module: its class, and its folder within the model directory; an empty path is the directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Class name; qualified with its Python module if that is not part of sentence-transformers.
    pub kind: String,
    pub path: String,
}

impl Module {
    /// Path of a file in the module's folder.
    pub fn file(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}/{name}", self.path) }
    }
}

impl SideFiles {
    /// The modules in order; None if the directory has no such list.
    ///
    /// # Errors
    /// `Error::Value` if it is malformed or a folder lies outside the directory.
    pub fn modules(&self) -> Result<Option<Vec<Module>>> {
        let Some(json) = self.json(MODULES)? else { return Ok(None) };
        let bad = |what: &str| Error::Value(format!("{MODULES}: {what}"));
        let rows = json.as_array().ok_or_else(|| bad("expected a list of modules"))?;
        let read = |row: &Value| {
            let text = |key: &str| row.get(key).and_then(Value::as_str);
            let (kind, path) = text("type").zip(text("path")).ok_or_else(|| bad("a module has no type or no path"))?;
            let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':']);
            if !path.is_empty() && !path.split('/').all(is_plain) {
                return Err(bad(&format!("the path {path:?} leads out of the directory")));
            }
            let class = kind.strip_prefix("sentence_transformers.").and_then(|rest| rest.rsplit('.').next());
            Ok(Module { kind: class.unwrap_or(kind).to_string(), path: path.to_string() })
        };
        rows.iter().map(read).collect::<Result<_>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<Vec<Module>>> {
        SideFiles([(MODULES.to_string(), json.as_bytes().to_vec())].into()).modules()
    }

    #[test]
    fn modules_when_types_are_of_any_version_have_the_names_of_their_classes() -> Result<()> {
        let found = read(
            r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
                {"type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling", "path": "1_Pooling"},
                {"type": "custom_st.Router", "path": "a/b"}]"#,
        )?
        .unwrap_or_default();
        let kinds: Vec<_> = found.iter().map(|module| (module.kind.as_str(), module.file("x"))).collect();
        let expected = [("Transformer", "x"), ("Pooling", "1_Pooling/x"), ("custom_st.Router", "a/b/x")];
        assert_eq!(kinds, expected.map(|(kind, file)| (kind, file.to_string())));
        Ok(())
    }

    #[test]
    fn modules_when_a_folder_lies_outside_are_refused() {
        for path in ["..", "/etc", "a/../../b", "a\\\\b", "C:", "a//b", "./a"] {
            let json = format!(r#"[{{"type": "sentence_transformers.models.Transformer", "path": "{path}"}}]"#);
            assert!(read(&json).is_err(), "{path}");
        }
        assert!(read("{}").is_err() && read(r#"[{"path": ""}]"#).is_err());
    }
}
