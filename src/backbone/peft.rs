//! Adapters in PEFT's files (0.21): `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Tensors are named as in the wrapped model: `base_model.model.`, the prefix of the family's models with a head, the
//! module, and the parameter without the name of the adapter. `A` is `[r, inputs]` and `B` `[outputs, r]` of any weight,
//! however it is stored.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::config::Config;
use super::low_rank::{AdaptedMap, Kind, LowRank, linear_layers};
use super::misplaced::ADAPTER_FILES;
use super::parameters::Parameters;
use super::peft_config::{PeftConfig, Written};
use super::shard::Shard;
use super::spec::{Owner, Spec};
use super::weights::write_safetensors;
use crate::array::Array;
use crate::compute::all_finite;
use crate::error::{Error, Result};
use crate::files::Staged;

const WRAPPER: &str = "base_model.model.";
/// The key of our own entry in the metadata of the weights, which PEFT does not read.
const METADATA: &str = "warmstart";
/// What a module that PEFT saves whole may have in its tensors' names, beside the name of the adapter.
const SAVED: &str = "modules_to_save.";
/// The ends of the names of an adapter's tensors, without the name of the adapter.
const PARTS: [&str; 4] = [".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".miss_block"];

/// An adapter as its files have it.
pub struct PeftAdapter {
    pub adapter: LowRank,
    /// The parameters of the adapter.
    pub params: Parameters,
    /// Tensors that the adapter brings whole, a head's among them, by their names in the model.
    pub whole: BTreeMap<String, Array>,
    /// The model that it was made on, as the file names it.
    pub base: Option<String>,
    /// What was given to [`write`]; None if the files are of another library.
    pub metadata: Option<Value>,
}

impl PeftAdapter {
    /// Read the adapter in `dir` for a backbone of this configuration and these specs; it is called `name`.
    ///
    /// # Errors
    /// `Error::Value` for a kind of adapter that is not known here; `Error::Weights` for tensors that do not fit the
    /// backbone, all of them listed.
    pub fn read(dir: &Path, name: &str, config: &Config, backbone: &[Spec]) -> Result<Self> {
        let [config_file, weights_file, pickle] = ADAPTER_FILES.map(|file| dir.join(file));
        if !config_file.is_file() {
            let hint = "; expected a directory with adapter_config.json and adapter_model.safetensors".into();
            return Err(Error::NotFound { path: config_file, hint });
        }
        let text = std::fs::read_to_string(&config_file).map_err(|e| Error::io(&config_file, e))?;
        let here = |e: Error| match e {
            Error::Value(message) => Error::Value(format!("{}: {message}", config_file.display())),
            other => other,
        };
        let settings = PeftConfig::parse(&text).map_err(here)?;
        if !weights_file.is_file() {
            let is_pickle =
                if pickle.is_file() { "; adapter_model.bin is not read: save it as safetensors" } else { "" };
            return Err(Error::NotFound { path: weights_file, hint: is_pickle.into() });
        }
        let shard = Shard::open(&weights_file)?;
        let prefix = config.family.names.prefix;
        let layers = linear_layers(backbone);
        let (mut maps, mut params, mut whole) = (BTreeMap::new(), Parameters::default(), BTreeMap::new());
        let mut adapter =
            LowRank { name: name.into(), kind: settings.kind(), rslora: settings.rslora(), maps: BTreeMap::new() };
        let (owner, mut problems) = (Owner::Adapter(name.into()), Vec::new());
        let mut tensors = BTreeMap::new();
        for (stored, _) in shard.shapes() {
            let array = shard.get(&stored).unwrap_or_else(|| Err(Error::internal("not found")))?.0;
            if !all_finite(&array.values()?) {
                problems.push(format!("  {stored}: holds NaN or infinite values"));
            }
            let inside = stored.strip_prefix(WRAPPER).unwrap_or(&stored);
            let inside = inside.strip_prefix(prefix).unwrap_or(inside);
            let Some((module, part)) = PARTS.iter().find_map(|part| Some((inside.strip_suffix(part)?, *part))) else {
                let plain = inside.replace(&format!("{SAVED}default."), "").replace(SAVED, "");
                if inside.contains("lora_") || inside.contains("base_layer.") {
                    problems.push(format!("  {stored}: not known here"));
                } else if whole.insert(plain.clone(), array).is_some() {
                    problems.push(format!("  {stored}: two tensors stand for {plain}"));
                }
                continue;
            };
            let Some(shape) = layers.get(module) else {
                problems
                    .push(format!("  {stored}: this backbone ({}) has no linear layer {module}", config.family.name));
                continue;
            };
            tensors.insert((module.to_string(), part), array.clone());
            let dims = array.dims();
            let rank = match (part, dims) {
                (".lora_A.weight", [r, n_in]) if *n_in == shape[1] => Some(*r),
                (".lora_B.weight", [n_out, r]) if *n_out == shape[0] => Some(*r),
                (".miss_block", [r, n_out]) if *n_out == shape[0] => Some(*r),
                (".lora_magnitude_vector", [n_out]) if *n_out == shape[0] => continue,
                _ => None,
            };
            let Some(rank) = rank.filter(|rank| *rank > 0) else {
                let [n_out, n_in] = shape;
                problems.push(format!("  {stored}: has shape {dims:?}, and {module} is {n_out} x {n_in}"));
                continue;
            };
            if *maps.entry(module.to_string()).or_insert(rank) != rank {
                problems.push(format!("  {stored}: its rank is {rank}, that of the other matrix {}", maps[module]));
            }
        }
        for (module, rank) in maps {
            let alpha = settings.alpha(&format!("{prefix}{module}")).map_err(here)?;
            adapter.maps.insert(module, AdaptedMap { rank, alpha });
        }
        for module in adapter.maps.keys() {
            for (name, part) in adapter.names(module).iter().zip(parts(adapter.kind)) {
                match tensors.remove(&(module.clone(), *part)) {
                    Some(array) => params.insert(name, &owner, array),
                    None => problems.push(format!("  {module}{part}: missing")),
                }
            }
        }
        problems.extend(tensors.keys().map(|(module, part)| format!("  {module}{part}: unexpected")));
        if adapter.maps.is_empty() && problems.is_empty() {
            problems.push("  no tensor of an adapter".into());
        }
        if !problems.is_empty() {
            let base = settings.base_model_name_or_path.as_deref().unwrap_or("a model that is not named");
            const SHOWN: usize = 12;
            let more = problems.len().saturating_sub(SHOWN);
            problems.truncate(SHOWN);
            let more = if more > 0 { format!("\n  ... and {more} more") } else { String::new() };
            return Err(Error::Weights(format!(
                "{}: the adapter was made for {base} and does not fit:\n{}{more}",
                weights_file.display(),
                problems.join("\n"),
            )));
        }
        let metadata = shard.metadata(METADATA).and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self { adapter, params, whole, base: settings.base_model_name_or_path, metadata })
    }
}

/// An adapter to write.
pub struct ToWrite<'a> {
    pub adapter: &'a LowRank,
    pub params: &'a Parameters,
    /// Tensors that are saved whole, by their names in the model: of the backbone, and of a head.
    pub of_backbone: Vec<(&'a str, &'a Array)>,
    pub of_head: Vec<(&'a str, &'a Array)>,
    pub task_type: &'static str,
    /// Whether names are those of a model with a head, for which the family has a prefix; else PEFT does not load the head.
    pub has_class: bool,
    /// The model that it was made on.
    pub base: &'a str,
    /// For our own reader.
    pub metadata: &'a Value,
}

/// Write the files of an adapter into `dir`, all or none of them.
///
/// # Errors
/// `Error::Value` for what PEFT's files cannot hold.
pub fn write(dir: &Path, what: &ToWrite, config: &Config, backbone: &[Spec]) -> Result<()> {
    let (adapter, prefix) = (what.adapter, if what.has_class { config.family.names.prefix } else { "" });
    let mut input_major = false;
    for spec in backbone.iter().filter(|spec| adapter.on(&spec.name).is_some()) {
        if !spec.name.ends_with(".weight") {
            return Err(Error::Value(format!(
                "{}: in this family ({}) it is a parameter and no module, which PEFT's files cannot adapt; give the \
                 strategy targets=\"feed_forward\", or save the whole model",
                spec.name, config.family.name
            )));
        }
        input_major = spec.map.is_some_and(|map| map.input_major);
    }
    // What is trained beside a matrix that is adapted, as its bias, has no place of its own.
    if let Some((name, _)) = what.of_backbone.iter().find(|(name, _)| adapter.maps.contains_key(module_of(name))) {
        return Err(Error::Value(format!(
            "{name} was trained beside an adapter of {}, which PEFT's files cannot hold; save the whole model",
            module_of(name)
        )));
    }
    let mut tensors = Vec::new();
    for module in adapter.maps.keys() {
        for (name, part) in adapter.names(module).iter().zip(parts(adapter.kind)) {
            tensors.push((format!("{WRAPPER}{prefix}{module}{part}"), what.params.get(name)?.clone()));
        }
    }
    tensors.extend(what.of_backbone.iter().map(|(name, array)| (format!("{WRAPPER}{prefix}{name}"), (*array).clone())));
    tensors.extend(what.of_head.iter().map(|(name, array)| (format!("{WRAPPER}{name}"), (*array).clone())));
    let heads = what.of_head.iter().filter(|_| what.has_class).map(|(name, _)| name.split('.').next().unwrap_or(name));
    let mut saved: Vec<String> =
        heads.chain(what.of_backbone.iter().map(|(name, _)| module_of(name))).map(String::from).collect();
    saved.sort();
    saved.dedup();
    let maps: Vec<_> = adapter.maps.iter().map(|(module, map)| (module.clone(), map.rank, map.alpha)).collect();
    let fields = Written {
        kind: adapter.kind,
        rslora: adapter.rslora,
        base: what.base,
        task_type: what.task_type,
        input_major,
        maps: &maps,
        modules_to_save: &saved,
    };
    let text = serde_json::to_vec_pretty(&fields.to_json()).map_err(|e| Error::internal(e.to_string()))?;
    let mut staged = Staged::begin(dir)?;
    staged.write(ADAPTER_FILES[0], &text)?;
    // One entry: of several, the order in the file would differ from one save to the next.
    let metadata = (METADATA, what.metadata.to_string());
    write_safetensors(tensors, metadata, &staged.reserve(ADAPTER_FILES[1])?)?;
    staged.commit(|_| Ok(vec![ADAPTER_FILES[2].to_string()]))
}

/// The ends of the names of tensors of such an adapter, in the order of [`LowRank::names`].
fn parts(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Lora => &PARTS[..2],
        Kind::Dora => &PARTS[..3],
        Kind::Miss => &PARTS[3..],
    }
}

/// The module of a parameter.
pub(crate) fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}
