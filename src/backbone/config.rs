//! The configuration of a BERT, as `config.json` states it (names of `transformers.BertConfig`).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::kernels::activation::Activation;

/// What a model is.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    #[serde(default = "default_activation")]
    pub hidden_act: Activation,
    #[serde(default = "default_dropout")]
    pub hidden_dropout_prob: f64,
    #[serde(default = "default_dropout")]
    pub attention_probs_dropout_prob: f64,
    #[serde(default)]
    pub classifier_dropout: Option<f64>,
    pub max_position_embeddings: usize,
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// The whole of `config.json`, for saving.
    #[serde(skip)]
    pub raw: Map<String, Value>,
}

/// 8 billion: 32 GB in f32.
const MAX_PARAMETERS: usize = 8_000_000_000;

fn default_activation() -> Activation {
    Activation::Gelu
}
fn default_dropout() -> f64 {
    0.1
}
fn default_type_vocab_size() -> usize {
    2
}
fn default_initializer_range() -> f64 {
    0.02
}
fn default_layer_norm_eps() -> f64 {
    1e-12
}

impl Config {
    /// Parse and check the text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |message: String| Error::Value(format!("config.json: {message}"));
        let raw: Map<String, Value> = serde_json::from_str(text).map_err(|e| bad(format!("not a JSON object: {e}")))?;
        match raw.get("model_type").and_then(Value::as_str) {
            Some("bert") => {}
            Some(other) => return Err(bad(format!("model_type is {other:?}; supported: \"bert\""))),
            None => return Err(bad("has no model_type; expected \"bert\"".into())),
        }
        for (field, expected) in [
            ("position_embedding_type", Value::from("absolute")),
            ("is_decoder", Value::from(false)),
            ("add_cross_attention", Value::from(false)),
        ] {
            if let Some(value) = raw.get(field).filter(|value| **value != expected && !value.is_null()) {
                return Err(bad(format!("{field} is {value}; supported: {expected}")));
            }
        }
        let mut config: Self = serde_json::from_value(Value::Object(raw.clone())).map_err(|e| bad(format!("{e}")))?;
        config.raw = raw;
        config.check().map_err(bad)?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        for (field, value, most) in [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 18),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("type_vocab_size", self.type_vocab_size, 1 << 8),
        ] {
            if value == 0 || value > most {
                return Err(format!("{field} is {value}; expected 1 to {most}"));
            }
        }
        // Far above what this machine could hold, far below what a lying file may claim.
        let per_layer = 4 * self.hidden_size * self.hidden_size + 2 * self.hidden_size * self.intermediate_size;
        let rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size;
        let parameters = self.num_hidden_layers * per_layer + rows * self.hidden_size;
        if parameters > MAX_PARAMETERS {
            return Err(format!("asks for {parameters} parameters; at most {MAX_PARAMETERS} are supported"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        for (field, p) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(format!("{field} is {p}; expected 0 or more and less than 1"));
            }
        }
        if self.layer_norm_eps.is_nan()
            || self.layer_norm_eps <= 0.0
            || self.initializer_range.is_nan()
            || self.initializer_range < 0.0
        {
            return Err(format!(
                "layer_norm_eps {} or initializer_range {} is out of range",
                self.layer_norm_eps, self.initializer_range
            ));
        }
        Ok(())
    }

    /// Dropout before the classifier.
    pub fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }
}
