//! Reads the text of a `config.json` through its model family.

use serde_json::{Map, Value};

use super::config::Config;
use super::families::{self, Configure};
use super::family::Family;
use super::fields::{Checked, Fields};
use super::sentence_modules::SentenceModules;
use crate::error::{Error, Result};
use crate::text::SideFiles;

impl Config {
    /// Parse and check the text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |message: String| Error::Value(format!("config.json: {message}"));
        let raw: Map<String, Value> = serde_json::from_str(text).map_err(|e| bad(format!("not a JSON object: {e}")))?;
        let known = || families::ALL.iter().flat_map(|(family, _)| family.model_types).map(|(name, _)| *name);
        let supported = || known().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let Some(model_type) = raw.get("model_type").and_then(Value::as_str) else {
            return Err(bad(format!("has no model_type; supported: {}", supported())));
        };
        let of_type =
            |(family, _): &&(&Family, Configure)| family.model_types.iter().any(|(name, _)| *name == model_type);
        let Some((family, configure)) = families::ALL.iter().find(of_type) else {
            return Err(bad(format!("model_type is {model_type:?}; supported: {}", supported())));
        };
        let config = Self::read(*configure, model_type, &raw).map_err(bad)?;
        if config.family.name != family.name {
            // Names of classes and tensors would be another family's.
            return Err(Error::internal(format!("{} is read as {}", family.name, config.family.name)));
        }
        let has_pooler =
            config.sequence_classifier.dense.as_ref().is_some_and(|dense| dense.name == family.names.pooler);
        Ok(Self { has_pooler, raw, ..config })
    }

    /// Parse the text of a `config.json`, and the sentence-transformers files beside it.
    ///
    /// A text classifier's head takes the directory's sentence vectors, dense layers included; or the vectors of a
    /// pooling chosen for it; or, if `config.json` names a class of transformers with a head, it is that head. The
    /// first two have their own name, because transformers has no class with such inputs.
    pub fn of_directory(text: &str, files: &SideFiles) -> Result<Self> {
        let mut config = Self::parse(text)?;
        config.sentence = SentenceModules::read(files, config.hidden_size)?;
        config.place_classifier()?;
        Ok(config)
    }

    /// True if `name` is transformers' class with this head of any supported model type: `roberta` and `xlm-roberta`, for
    /// one, have the same.
    pub(crate) fn is_class(name: &str, head: &str) -> bool {
        let mut known = families::ALL.iter().flat_map(|(family, _)| family.model_types);
        known.any(|(_, class)| name.strip_prefix(class) == Some(head))
    }

    fn read(configure: Configure, model_type: &str, raw: &Map<String, Value>) -> Checked<Self> {
        let fields = Fields::new(raw);
        for (name, expected) in [
            ("is_decoder", Value::from(false)),
            ("is_encoder_decoder", false.into()),
            ("add_cross_attention", false.into()),
            ("pruned_heads", Value::Object(Map::new())),
        ] {
            fields.only(name, expected)?;
        }
        let config = configure(&fields, model_type)?;
        fields.finish()?;
        config.check()?;
        Ok(config)
    }
}
