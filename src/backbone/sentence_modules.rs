//! The modules of a sentence-transformers directory: `modules.json` and the files it names.
//!
//! A model is a list of modules: `Transformer`, `Pooling`, any number of `Dense` (`activation(W x + b)`), and perhaps
//! `Normalize` (to length 1). Reading follows sentence-transformers 6.2, which also reads files of version 2 on;
//! written files can be read by 5 and 6.

use serde_json::{Map, Value, json};

use super::pooling::Pooling;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::text::{MODULES, Module, SENTENCE_CONFIG, SENTENCE_TRANSFORMERS, SideFiles};

const POOLING: &str = "1_Pooling";
/// Prefix of module types in files that 5.x and 6.x read.
const TYPES: &str = "sentence_transformers.models.";
/// Activations by the class name in a `Dense` configuration.
const ACTIVATIONS: [(&str, Option<Activation>); 5] = [
    ("torch.nn.modules.linear.Identity", None),
    ("torch.nn.modules.activation.Tanh", Some(Activation::Tanh)),
    ("torch.nn.modules.activation.ReLU", Some(Activation::Relu)),
    ("torch.nn.modules.activation.GELU", Some(Activation::Gelu)),
    ("torch.nn.modules.activation.SiLU", Some(Activation::Silu)),
];

/// The modules after a transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct SentenceModules {
    /// Poolings, concatenated.
    pub pooling: Vec<Pooling>,
    /// Dense layers, applied one after another.
    pub dense: Vec<Dense>,
    /// Whether vectors are normalised to length 1 at the end.
    pub normalize: bool,
    /// True if `modules.json` lists them; else there is only a pooling.
    listed: bool,
}

/// A linear layer with an activation.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// The folder of its weights, and the prefix of its parameter names.
    pub folder: String,
    pub inputs: usize,
    pub outputs: usize,
    pub bias: bool,
    pub activation: Option<Activation>,
}

impl Dense {
    /// Name of its linear layer, without `.weight` and `.bias`.
    pub fn name(&self) -> String {
        format!("{}.linear", self.folder)
    }
}

impl SentenceModules {
    /// Reads `modules.json` for a transformer of `hidden_size`; without it only a pooling, if there is one. Unknown
    /// settings that would change the vectors are errors that name them.
    pub fn read(files: &SideFiles, hidden_size: usize) -> Result<Option<Self>> {
        let Some(modules) = files.modules()? else {
            let Some(config) = files.json(&config_of(POOLING))? else { return Ok(None) };
            let pooling = read_pooling(&config, POOLING, None, false)?;
            return Ok(Some(Self { pooling, dense: Vec::new(), normalize: false, listed: false }));
        };
        check_transformer(files)?;
        let prompted = default_prompt(files)?.is_some();
        let mut found = Self { pooling: Vec::new(), dense: Vec::new(), normalize: false, listed: true };
        let mut width = hidden_size;
        for (i, Module { kind, path }) in modules.iter().enumerate() {
            let config = || files.json(&config_of(path)).map(|config| config.unwrap_or(json!({})));
            if kind == "Pooling" && !files.0.contains_key(&config_of(path)) {
                return Err(Error::Value(format!("{MODULES}: names {}, which is not there", config_of(path))));
            }
            match kind.as_str() {
                "Transformer" if i == 0 => {}
                "Pooling" if i == 1 => {
                    found.pooling = read_pooling(&config()?, path, Some(hidden_size), prompted)?;
                    width *= found.pooling.len();
                }
                "Dense" if i > 1 && !found.normalize => {
                    let dense = Dense::read(&config()?, path, width)?;
                    width = dense.outputs;
                    found.dense.push(dense);
                }
                "Normalize" if i > 1 => {
                    check_names(&config()?, path)?;
                    found.normalize = true;
                }
                _ => {
                    return Err(Error::Value(format!(
                        "{MODULES}: module {i} is {kind:?}; supported: Transformer, Pooling, any number of Dense, and \
                         Normalize at the end. To take the transformer alone, open a copy without {MODULES}"
                    )));
                }
            }
        }
        if found.pooling.is_empty() {
            return Err(Error::Value(format!("{MODULES}: has no Pooling after the Transformer")));
        }
        Ok(Some(found))
    }

    /// The default prompt, put before every text.
    pub fn prompt(files: &SideFiles) -> Result<Option<String>> {
        if files.modules()?.is_none() { Ok(None) } else { default_prompt(files) }
    }

    /// Width of the sentence vectors, given `hidden_size`.
    pub fn width(&self, hidden_size: usize) -> usize {
        self.dense.last().map_or(hidden_size * self.pooling.len(), |dense| dense.outputs)
    }

    /// Replace the module files in `files` by those of these modules, with the transformer in the directory itself.
    pub fn write(&self, files: &mut SideFiles, hidden_size: usize) -> Result<()> {
        if !self.listed {
            return Ok(());
        }
        let old: Vec<String> =
            files.modules()?.into_iter().flatten().map(|module| module.file("config.json")).collect();
        files.0.retain(|name, _| !old.contains(name));
        let config = files.json(SENTENCE_CONFIG)?.unwrap_or_default();
        let (length, lower_case) = (config["max_seq_length"].clone(), config["do_lower_case"] == true);
        let mut modules = vec![("Transformer", String::new(), None)];
        modules.push(("Pooling", POOLING.to_string(), Some(Pooling::write(&self.pooling, hidden_size))));
        modules.extend(self.dense.iter().map(|dense| ("Dense", dense.folder.clone(), Some(dense.write()))));
        if self.normalize {
            modules.push(("Normalize", format!("{}_Normalize", modules.len()), None));
        }
        let mut put = |name: String, value: &Value| -> Result<()> {
            let text = serde_json::to_vec_pretty(value).map_err(|e| Error::Value(format!("{name}: {e}")))?;
            files.0.insert(name, text);
            Ok(())
        };
        let row = |(i, (kind, path, _)): (usize, &(&str, String, Option<Value>))| {
            let class = format!("{TYPES}{kind}");
            json!({"idx": i, "name": i.to_string(), "path": path, "type": class})
        };
        put(MODULES.to_string(), &modules.iter().enumerate().map(row).collect())?;
        for (_, path, config) in &modules {
            if let Some(config) = config {
                put(config_of(path), config)?;
            }
        }
        // Only the fields that 5.x knows; the others keep their defaults.
        put(SENTENCE_CONFIG.to_string(), &json!({"max_seq_length": length, "do_lower_case": lower_case}))
    }
}

impl Dense {
    fn read(config: &Value, path: &str, width: usize) -> Result<Self> {
        check_names(config, path)?;
        let bad = |what: String| Error::Value(format!("{}: {what}", config_of(path)));
        if config.get("use_residual").is_some_and(|value| *value != json!(false)) {
            return Err(bad("use_residual is not supported".into()));
        }
        let size = |key: &str| {
            let size = config.get(key).and_then(Value::as_u64).filter(|size| (1..=1 << 16).contains(size));
            size.map(|size| size as usize).ok_or_else(|| bad(format!("{key} must be a number from 1 to {}", 1 << 16)))
        };
        let (inputs, outputs) = (size("in_features")?, size("out_features")?);
        if inputs != width {
            return Err(bad(format!("in_features is {inputs}, but the vectors have {width} values")));
        }
        let class = config.get("activation_function").and_then(Value::as_str).unwrap_or(ACTIVATIONS[1].0);
        let short = |class: &str| class.rsplit('.').next().map(str::to_string);
        let found =
            ACTIVATIONS.iter().find(|(known, _)| class.starts_with("torch.nn.") && short(known) == short(class));
        let Some((_, activation)) = found else {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(known, _)| *known).collect();
            return Err(bad(format!("activation_function is {class:?}; supported: {}", known.join(", "))));
        };
        let bias = match config.get("bias") {
            None => true,
            Some(Value::Bool(bias)) => *bias,
            Some(other) => return Err(bad(format!("bias is {other}; expected true or false"))),
        };
        Ok(Self { folder: path.to_string(), inputs, outputs, bias, activation: *activation })
    }

    fn write(&self) -> Value {
        let class = ACTIVATIONS.iter().find(|(_, activation)| *activation == self.activation).map(|(class, _)| *class);
        json!({"in_features": self.inputs, "out_features": self.outputs, "bias": self.bias, "activation_function": class})
    }
}

fn config_of(folder: &str) -> String {
    format!("{folder}/config.json")
}

/// Refuse modules whose inputs or outputs have other than the default names.
fn check_names(config: &Value, path: &str) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if let Some(value) = config.get(key).filter(|value| !value.is_null() && **value != json!("sentence_embedding"))
        {
            return Err(Error::Value(format!("{}: {key} is {value}; supported: sentence_embedding", config_of(path))));
        }
    }
    Ok(())
}

fn read_pooling(config: &Value, path: &str, hidden_size: Option<usize>, prompted: bool) -> Result<Vec<Pooling>> {
    let remedy = "for hidden states alone open a copy without this file and modules.json";
    let bad = |what: String| Error::Value(format!("{}: {what}; {remedy}", config_of(path)));
    if prompted && config.get("include_prompt") == Some(&json!(false)) {
        return Err(bad("include_prompt is false, and the directory has a default prompt: not supported".into()));
    }
    Pooling::read(config, hidden_size).map_err(bad)
}

/// The default prompt of `config_sentence_transformers.json`, if it has one.
fn default_prompt(files: &SideFiles) -> Result<Option<String>> {
    const FILE: &str = SENTENCE_TRANSFORMERS;
    let Some(config) = files.json(FILE)? else { return Ok(None) };
    let Some(name) = config.get("default_prompt_name").and_then(Value::as_str) else { return Ok(None) };
    let prompt = config.get("prompts").and_then(|prompts| prompts.get(name)).and_then(Value::as_str);
    let prompt = prompt
        .ok_or_else(|| Error::Value(format!("{FILE}: default_prompt_name is {name:?}, which prompts has not")))?;
    Ok(Some(prompt.to_string()).filter(|prompt| !prompt.is_empty()))
}

/// Check settings that change the transformer's outputs: any but the defaults are errors that name them.
fn check_transformer(files: &SideFiles) -> Result<()> {
    let Some(config) = files.json(SENTENCE_CONFIG)? else { return Ok(()) };
    let empty = Map::new();
    let config = config.as_object().unwrap_or(&empty);
    let is_usual = |key: &str, value: &Value| match key {
        "max_seq_length" => value.is_null() || value.as_u64().is_some_and(|length| length > 0),
        "do_lower_case" => value.is_boolean(),
        "transformer_task" => *value == json!("feature-extraction"),
        "module_output_name" => *value == json!("token_embeddings"),
        "unpad_inputs" => true,
        // With a `message` mode, texts would go through the chat template.
        "modality_config" => {
            value.as_object().is_some_and(|modes| modes.contains_key("text") && !modes.contains_key("message"))
        }
        "model_args" | "model_kwargs" => value.as_object().is_some_and(|args| {
            let harmless = ["attn_implementation", "torch_dtype", "dtype", "trust_remote_code", "add_pooling_layer"];
            args.keys().all(|key| harmless.contains(&key.as_str()))
        }),
        "tokenizer_args" | "processor_kwargs" | "config_args" | "config_kwargs" => {
            value.as_object().is_some_and(|args| args.keys().all(|key| key == "trust_remote_code"))
        }
        _ => value.is_null() || *value == json!({}) || *value == json!(false),
    };
    match config.iter().find(|(key, value)| !is_usual(key, value)) {
        Some((key, value)) => Err(Error::Value(format!("{SENTENCE_CONFIG}: {key} is {value}, which is not supported"))),
        None => Ok(()),
    }
}
