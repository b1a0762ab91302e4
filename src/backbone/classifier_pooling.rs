//! The input vectors of a text classifier's head.

use serde_json::Value;

use super::config::Config;
use super::family::HeadOptions;
use super::fields::CLASSIFIER_POOLING;
use super::pooling::Pooling;
use crate::error::{Error, Result};

impl Config {
    /// Put the text classifier's head on the pooling chosen for it, or on the directory's sentence vectors; else keep
    /// transformers' head.
    pub(super) fn place_classifier(&mut self) -> Result<()> {
        if let Some(chosen) = self.raw.get(CLASSIFIER_POOLING).cloned() {
            let bad =
                || Error::Value(format!("config.json: {CLASSIFIER_POOLING} is {chosen}; expected a list of names"));
            let names = chosen.as_array().filter(|names| !names.is_empty()).ok_or_else(bad)?;
            let parse = |name: &Value| Pooling::parse(name.as_str().ok_or_else(bad)?);
            let pooling = names.iter().map(parse).collect::<Result<Vec<_>>>()?;
            self.classify_on(pooling)?;
        } else if let Some(modules) = &self.sentence
            && (!modules.dense.is_empty() || !self.names_classifier())
        {
            self.classify_on(modules.pooling.clone())?;
        }
        Ok(())
    }

    /// A copy whose text classifier takes the vectors of `pooling`, side by side.
    pub(super) fn with_classifier_pooling(&self, pooling: Vec<Pooling>) -> Result<Self> {
        let mut config = self.clone();
        config.raw.insert(CLASSIFIER_POOLING.into(), pooling.iter().map(|pooling| pooling.name()).collect());
        config.classify_on(pooling)?;
        Ok(config)
    }

    /// Put the text classifier's head on sentence vectors: those of the directory's modules, or of another pooling.
    fn classify_on(&mut self, pooling: Vec<Pooling>) -> Result<()> {
        let mut input_size = self.hidden_size * pooling.len();
        if let Some(modules) = self.sentence.as_ref().filter(|modules| !modules.dense.is_empty()) {
            if modules.pooling != pooling {
                let names = |all: &[Pooling]| all.iter().map(|pooling| pooling.name()).collect::<Vec<_>>().join(", ");
                return Err(Error::Value(format!(
                    "pooling={}: the dense layers of this directory take {}; leave pooling=\"auto\", or open a copy without \
                     modules.json",
                    names(&pooling),
                    names(&modules.pooling)
                )));
            }
            input_size = modules.width(self.hidden_size);
        }
        let (std, last_dropout) = (self.sequence_classifier.std, self.sequence_classifier.last_dropout);
        self.sequence_classifier = HeadOptions {
            pooling,
            input_size: Some(input_size),
            last_dropout,
            ..HeadOptions::linear(Pooling::Mean, HeadOptions::ON_SENTENCE, "sentence_classifier.bias", std)
        };
        Ok(())
    }

    /// True if `names` include transformers' task head, but not the head on sentence vectors that this configuration
    /// expects.
    pub fn lacks_head<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        let of_heads: Vec<&str> = names.filter(|name| self.is_of_task(name)).collect();
        let is_own =
            |name: &&str| name.strip_prefix(self.sequence_classifier.output).is_some_and(|rest| rest.starts_with('.'));
        self.sequence_classifier.is_on_sentence() && !of_heads.is_empty() && !of_heads.iter().any(is_own)
    }

    /// A copy whose text classifier is transformers' class head, as estimators of version 0.2 had it on sentence
    /// encoders without dense layers.
    pub fn with_classifier_of_class(&self) -> Result<Self> {
        let mut config = Self::parse(&Value::Object(self.raw.clone()).to_string())?;
        config.sentence.clone_from(&self.sentence);
        config.raw.insert("architectures".into(), vec![config.class("ForSequenceClassification")].into());
        Ok(config)
    }

    /// True if `architectures` names a class of transformers for text classification.
    fn names_classifier(&self) -> bool {
        let names = self.raw.get("architectures").and_then(Value::as_array);
        names.is_some_and(|names| {
            names.iter().any(|name| name.as_str().is_some_and(|name| name.ends_with("ForSequenceClassification")))
        })
    }
}
