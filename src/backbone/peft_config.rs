//! `adapter_config.json` as PEFT (0.21) writes it, of the adapters that are known here.

use std::fmt;
use std::marker::PhantomData;

use fancy_regex::Regex;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::lora::matches;
use super::low_rank::Kind;
use crate::error::{Error, Result};

/// Settings that say how tensors are to be read, or that stand for something other than the tensors say.
#[derive(Debug, Deserialize)]
pub(super) struct PeftConfig {
    peft_type: String,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    #[serde(default)]
    lora_alpha: Option<f64>,
    #[serde(default)]
    alpha_pattern: Option<Ordered<f64>>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    init_weights: Value,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Settings that change what an adapter computes, in ways that are not known here.
const UNKNOWN: [&str; 12] = [
    "layer_replication",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "megatron_config",
];

/// Initialisations that change the base model's weights, so that the adapter alone does not say what was trained.
const CHANGES_BASE: [&str; 6] = ["pissa", "olora", "corda", "loftq", "lora_ga", "milora"];

impl PeftConfig {
    /// Read and check the text of a file.
    ///
    /// # Errors
    /// `Error::Value` if it is no such JSON, or of an adapter that is not known here.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|e| Error::Value(format!("it cannot be read: {e}")))?;
        if !matches!(config.peft_type.as_str(), "LORA" | "MISS") {
            return Err(Error::Value(format!(
                "peft_type is {:?}; adapters of LORA (also with DoRA) and MISS are known",
                config.peft_type
            )));
        }
        let is_set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(all) => !all.is_empty(),
            Value::Object(all) => !all.is_empty(),
            _ => true,
        };
        if let Some(name) = UNKNOWN.iter().find(|name| config.others.get(**name).is_some_and(is_set)) {
            return Err(Error::Value(format!("{name} is {}, which is not known here", config.others[*name])));
        }
        if let Some(how) = config.init_lora_weights.as_str()
            && let Some(known) = CHANGES_BASE.iter().find(|name| how.to_lowercase().starts_with(*name))
        {
            return Err(Error::Value(format!(
                "init_lora_weights is {how:?}: {known} changed the weights of the base model, so that this adapter does \
                 not fit it as published; save it as a difference with peft's \
                 save_pretrained(path, path_initial_model_for_weight_conversion=...)"
            )));
        }
        if config.peft_type == "MISS" && !matches!(config.init_weights, Value::Null | Value::Bool(_)) {
            return Err(Error::Value(format!(
                "init_weights is {}: only the plain form of MISS is known",
                config.init_weights
            )));
        }
        Ok(config)
    }

    pub fn kind(&self) -> Kind {
        match (self.peft_type.as_str(), self.use_dora) {
            ("MISS", _) => Kind::Miss,
            (_, true) => Kind::Dora,
            (_, false) => Kind::Lora,
        }
    }

    pub fn rslora(&self) -> bool {
        self.use_rslora
    }

    /// `alpha` of a module: that of the first pattern in the file's order that matches the end of its name, as PEFT has
    /// it.
    pub fn alpha(&self, module: &str) -> Result<f64> {
        for (pattern, alpha) in self.alpha_pattern.iter().flat_map(|patterns| &patterns.0) {
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .map_err(|e| Error::Value(format!("alpha_pattern: {pattern:?} is no regular expression: {e}")))?;
            if matches(&regex, module) {
                return Ok(*alpha);
            }
        }
        // PEFT's own default.
        Ok(self.lora_alpha.unwrap_or(8.0))
    }
}

/// The fields of an adapter's file.
pub(super) struct Written<'a> {
    pub kind: Kind,
    pub rslora: bool,
    pub base: &'a str,
    pub task_type: &'a str,
    pub input_major: bool,
    /// The adapted modules' names in the model with their ranks and alphas; at least one.
    pub maps: &'a [(String, usize, f64)],
    pub modules_to_save: &'a [String],
}

impl Written<'_> {
    /// The text of the file. Only what is set is written, because older versions of PEFT refuse what they do not know;
    /// patterns are whole names, because PEFT sorts them when it saves, and the first that matches wins.
    pub fn to_json(&self) -> Value {
        let mut counts = std::collections::BTreeMap::<(usize, u64), usize>::new();
        for (_, rank, alpha) in self.maps {
            *counts.entry((*rank, alpha.to_bits())).or_default() += 1;
        }
        let commonest = counts.iter().max_by_key(|(_, count)| **count).map(|((rank, alpha), _)| (*rank, *alpha));
        let (rank, alpha) = commonest.map_or((1, 1.0), |(rank, bits)| (rank, f64::from_bits(bits)));
        let targets: Vec<&String> = self.maps.iter().map(|(name, ..)| name).collect();
        let mut fields = json!({
            "peft_type": if self.kind == Kind::Miss { "MISS" } else { "LORA" },
            "base_model_name_or_path": self.base,
            "inference_mode": true,
            "r": rank,
            "target_modules": targets,
            "bias": "none",
            "task_type": self.task_type,
        });
        if !self.modules_to_save.is_empty() {
            fields["modules_to_save"] = self.modules_to_save.into();
        }
        if self.kind == Kind::Miss {
            fields["init_weights"] = true.into();
            return fields;
        }
        fields["lora_alpha"] = number(alpha);
        let pattern = |name: &String| name.replace('.', r"\.");
        let others =
            |differs: &dyn Fn(usize, f64) -> bool, value: &dyn Fn(usize, f64) -> Value| -> Map<String, Value> {
                let unlike = self.maps.iter().filter(|(_, rank, alpha)| differs(*rank, *alpha));
                unlike.map(|(name, rank, alpha)| (pattern(name), value(*rank, *alpha))).collect()
            };
        let ranks = others(&|r, _| r != rank, &|r, _| r.into());
        let alphas = others(&|_, a| a.to_bits() != alpha.to_bits(), &|_, a| number(a));
        for (name, patterns) in [("rank_pattern", ranks), ("alpha_pattern", alphas)] {
            if !patterns.is_empty() {
                fields[name] = Value::Object(patterns);
            }
        }
        for (name, set) in
            [("use_rslora", self.rslora), ("use_dora", self.kind == Kind::Dora), ("fan_in_fan_out", self.input_major)]
        {
            if set {
                fields[name] = true.into();
            }
        }
        fields
    }
}

/// A number as an integer where it is one, as PEFT's own files have it.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 { (value as i64).into() } else { value.into() }
}

/// A JSON object in the order of the file.
#[derive(Debug)]
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
