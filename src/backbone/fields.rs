//! The fields of a `config.json`, read by name; fields that were never read are errors.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::ops::activation::Activation;

/// A value, or a message on what is wrong with the configuration.
pub(super) type Checked<T> = Result<T, String>;

/// The field of our own `config.json` that names the poolings chosen for a text classifier's head.
pub(super) const CLASSIFIER_POOLING: &str = "sentence_classifier_pooling";

/// Fields without effect here: origin of a checkpoint, special tokens (the tokenizer has them), outputs, generation,
/// transformers' own training.
const WITHOUT_EFFECT: &[&str] = &[
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "eos_token_ids",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "model_type",
    "name",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sbert_ce_default_activation_function",
    CLASSIFIER_POOLING,
    "sentence_transformers",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// The fields, and which were read. A null counts as absent.
pub(super) struct Fields<'a> {
    raw: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    pub fn new(raw: &'a Map<String, Value>) -> Self {
        Self { raw, asked: RefCell::default() }
    }

    pub fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.raw.get(name).filter(|value| !value.is_null())
    }

    /// True if the field is present and null.
    pub fn is_null(&self, name: &str) -> bool {
        self.raw.get(name).is_some_and(Value::is_null)
    }

    /// Reads a field with `read`; `kind` describes the expected type in the error.
    fn read<T>(&self, name: &'static str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Checked<Option<T>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| format!("{name} is {value}; expected {kind}")),
        }
    }

    /// An optional whole number.
    pub fn optional_count(&self, name: &'static str) -> Checked<Option<usize>> {
        self.read(name, "a whole number", |value| Some(value.as_u64()? as usize))
    }

    /// A required whole number.
    pub fn count(&self, name: &'static str) -> Checked<usize> {
        self.optional_count(name)?.ok_or_else(|| format!("has no {name}"))
    }

    pub fn count_or(&self, name: &'static str, default: usize) -> Checked<usize> {
        Ok(self.optional_count(name)?.unwrap_or(default))
    }

    pub fn number_or(&self, name: &'static str, default: f64) -> Checked<f64> {
        Ok(self.read(name, "a number", Value::as_f64)?.unwrap_or(default))
    }

    /// A dropout probability.
    pub fn dropout(&self, name: &'static str, default: f64) -> Checked<f64> {
        let p = self.number_or(name, default)?;
        if (0.0..1.0).contains(&p) { Ok(p) } else { Err(format!("{name} is {p}; expected 0 or more and less than 1")) }
    }

    /// A number above 0.
    pub fn positive(&self, name: &'static str, default: f64) -> Checked<f64> {
        let x = self.number_or(name, default)?;
        if x > 0.0 && x.is_finite() { Ok(x) } else { Err(format!("{name} is {x}; expected more than 0")) }
    }

    pub fn flag_or(&self, name: &'static str, default: bool) -> Checked<bool> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub fn text(&self, name: &'static str) -> Checked<Option<&'a str>> {
        self.read(name, "a string", Value::as_str)
    }

    pub fn activation(&self, name: &'static str, default: Activation) -> Checked<Activation> {
        let Some(value) = self.value(name) else { return Ok(default) };
        serde_json::from_value(value.clone()).map_err(|e| format!("{name}: {e}"))
    }

    /// Check that a field, if present, has this value.
    pub fn only(&self, name: &'static str, expected: impl Into<Value>) -> Checked<()> {
        let expected = expected.into();
        match self.value(name) {
            Some(value) if *value != expected => Err(format!("{name} is {value}; supported: {expected}")),
            _ => Ok(()),
        }
    }

    /// Mark fields of this family as read that have no effect here.
    pub fn without_effect(&self, names: &[&'static str]) {
        self.asked.borrow_mut().extend(names);
    }

    /// Refuse fields that were never read.
    pub fn finish(&self) -> Checked<()> {
        let asked = self.asked.borrow();
        let unknown = |name: &&String| !asked.contains(name.as_str()) && !WITHOUT_EFFECT.contains(&name.as_str());
        let unknown: Vec<String> =
            self.raw.keys().filter(unknown).map(|name| format!("{name} ({})", self.raw[name])).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(format!(
            "has fields that a model of this type does not: {}; if they change nothing, remove them",
            unknown.join(", ")
        ))
    }
}
