//! Reads and writes weights: safetensors (single, sharded), PyTorch's `.bin` and GGUF, with strict checks.
//!
//! Reading never executes code.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::family::Names;
use super::finite;
use super::misplaced::{no_weights, refuse_adapter};
use super::parameters::{Parameters, check_memory};
use super::shard::Shard;
use super::spec::{Spec, initialise};
use super::torch_file::TorchFile;
use crate::array::Array;
use crate::compute::all_finite;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::rng::Key;

/// Files that hold weights, in order of preference.
pub const WEIGHT_FILES: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Report of what happened to each tensor.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Tensors read.
    pub loaded: usize,
    /// Parameters that the checkpoint lacks and that were newly initialised, as planned.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that were left out as planned: heads and buffers.
    pub ignored: Vec<String>,
    /// Tensors stored in another type and converted to f32.
    pub converted: Vec<String>,
    /// Parameters that hold NaN or infinite values.
    pub not_finite: Vec<String>,
    /// Prefix that a wrapper had put before every tensor name, such as `module.`; it was removed.
    pub prefix: String,
}

impl LoadReport {
    /// The report for the model after training, when no parameter counts as missing or not finite any more.
    pub(crate) fn trained(&self) -> Self {
        Self { missing: Vec::new(), not_finite: Vec::new(), ..self.clone() }
    }
}

enum Source {
    Safetensors(Vec<Shard>),
    Pickle(Vec<TorchFile>),
    Gguf(Gguf),
}

/// A model directory's weights: names and shapes first, values on demand.
pub struct Checkpoint {
    source: Source,
    /// Stored name and shape of each tensor.
    stored: Vec<(String, Vec<usize>)>,
    files: String,
}

impl Checkpoint {
    /// Open the weights in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let Some(name) = WEIGHT_FILES.iter().find(|name| dir.join(name).is_file()) else {
            return Err(no_weights(dir, &WEIGHT_FILES));
        };
        refuse_adapter(dir)?;
        let path = dir.join(name);
        let paths = if name.ends_with(".index.json") { shards(dir, &path)? } else { vec![path.clone()] };
        let (source, stored) = if name.contains("safetensors") {
            let shards = paths.iter().map(|path| Shard::open(path)).collect::<Result<Vec<_>>>()?;
            let stored = shards.iter().flat_map(Shard::shapes).collect();
            (Source::Safetensors(shards), stored)
        } else {
            let parts = paths.iter().map(|path| TorchFile::open(path)).collect::<Result<Vec<_>>>()?;
            let shapes = parts.iter().flat_map(TorchFile::shapes);
            let stored = shapes.map(|(name, shape)| (name.to_string(), shape.to_vec())).collect();
            (Source::Pickle(parts), stored)
        };
        Ok(Self { source, stored, files: path.display().to_string() })
    }

    /// The tensors of a GGUF file.
    pub fn from_gguf(gguf: Gguf) -> Self {
        let stored = gguf.tensors().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect();
        Self { files: gguf.path().display().to_string(), source: Source::Gguf(gguf), stored }
    }

    /// Read the parameters `specs`, which must all be present in their shape, except those for which `may_be_missing`:
    /// they are newly initialised. Every other tensor of the checkpoint must pass `may_be_ignored`. Anything else is an
    /// error that lists all of them.
    pub fn load(
        &self,
        names: &Names,
        specs: &[Spec],
        may_be_missing: impl Fn(&str) -> bool,
        may_be_ignored: impl Fn(&str) -> bool,
        key: Key,
    ) -> Result<(Parameters, LoadReport)> {
        let (wrapper, wrapped) = self.wrapper(names);
        let prefix = if wrapped == self.stored.len() { wrapper } else { "" };
        let mut report = LoadReport { prefix: prefix.to_string(), ..LoadReport::default() };
        let mut problems = Vec::new();
        let mut entries = self.canonical(names, prefix)?;
        for (name, second) in specs.iter().filter_map(|spec| Some((&spec.name, second_bias(&spec.name)?))) {
            if let Some(bias) = entries.remove(&second) {
                entries.entry(name.clone()).or_insert(bias);
            }
        }
        for spec in specs {
            match entries.get(&spec.name) {
                Some((shape, _)) if *shape != spec.shape => {
                    problems.push(format!(
                        "  {}: has shape {shape:?}, the configuration asks for {:?}",
                        spec.name, spec.shape
                    ));
                }
                Some(_) => {}
                None if may_be_missing(&spec.name) => report.missing.push(spec.name.clone()),
                None => problems.push(format!("  {}: missing", spec.name)),
            }
        }
        for name in entries.keys().filter(|name| !specs.iter().any(|spec| spec.name == **name)) {
            if may_be_ignored(name) {
                report.ignored.push(name.clone());
            } else {
                problems.push(format!("  {name}: unexpected"));
            }
        }
        if !problems.is_empty() {
            let others = self.stored.iter().map(|(name, _)| name).filter(|name| !name.starts_with(wrapper));
            let others: Vec<String> = others.cloned().collect();
            let hint = if wrapped > 0 && !others.is_empty() {
                format!(
                    "{wrapped} names begin with {wrapper:?}, which is taken off only where all do; others: {}",
                    finite::shorten(&others)
                )
            } else {
                "Check that weights and configuration are of the same model".into()
            };
            return Err(Error::Weights(format!(
                "{}: {} tensors do not fit config.json:\n{}\n{hint}.",
                self.files,
                problems.len(),
                shorten(&problems)
            )));
        }
        let is_mapped = |stored: &str| match &self.source {
            Source::Safetensors(shards) => shards.iter().any(|shard| shard.is_mapped(stored)),
            Source::Pickle(_) | Source::Gguf(_) => false,
        };
        let makes = |spec: &&Spec| entries.get(&spec.name).is_none_or(|(_, stored)| !is_mapped(stored));
        check_memory(specs.iter().filter(makes))?;
        let mut params = Parameters::default();
        for spec in specs {
            let tensor = match entries.get(&spec.name) {
                Some((_, stored)) => self.read(stored, &spec.name, &mut report)?,
                None => initialise(spec, key)?,
            };
            let finite = tensor.values().map(|values| all_finite(&values))?;
            report.not_finite.extend((!finite).then(|| spec.name.clone()));
            params.insert(&spec.name, &spec.owner, tensor);
        }
        Ok((params, report))
    }

    /// The prefix of every tensor name if the model was saved in a wrapper: `module.` (`DataParallel`), `_orig_mod.`
    /// (`torch.compile`), both, or another library's name for the model; empty if there is none. Also returns how many
    /// names have it.
    fn wrapper(&self, names: &Names) -> (&str, usize) {
        let word = format!("{}.weight", names.word_embeddings);
        let mut found = self.stored.iter().filter_map(|(name, _)| name.strip_suffix(&word));
        let (Some(before), None) = (found.next(), found.next()) else { return ("", 0) };
        let wrapper = before.strip_suffix(names.prefix).unwrap_or(before);
        if !wrapper.ends_with('.') {
            return ("", 0);
        }
        (wrapper, self.stored.iter().filter(|(name, _)| name.starts_with(wrapper)).count())
    }

    /// Shape and stored name by canonical name: without wrapper and head prefix, norms as `weight` and `bias` instead
    /// of `gamma` and `beta`.
    fn canonical(&self, names: &Names, wrapper: &str) -> Result<BTreeMap<String, (Vec<usize>, String)>> {
        let mut entries = BTreeMap::new();
        for (name, shape) in &self.stored {
            let name_inside = name.strip_prefix(wrapper).unwrap_or(name);
            let canonical = name_inside.strip_prefix(names.prefix).unwrap_or(name_inside);
            let canonical =
                canonical.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
            if entries.insert(canonical.clone(), (shape.clone(), name.clone())).is_some() {
                return Err(Error::Weights(format!("{}: two tensors stand for {canonical}", self.files)));
            }
        }
        Ok(entries)
    }

    fn read(&self, stored: &str, name: &str, report: &mut LoadReport) -> Result<Array> {
        let unreadable = |e: String| Error::Weights(format!("{}: tensor {stored}: {e}", self.files));
        let (array, was_f32) = match &self.source {
            Source::Safetensors(shards) => {
                let found = shards.iter().find_map(|shard| shard.get(stored));
                found.unwrap_or_else(|| Err(Error::internal("not found"))).map_err(|e| unreadable(e.to_string()))?
            }
            Source::Pickle(parts) => {
                let found = parts.iter().find_map(|part| part.get(stored));
                found.unwrap_or_else(|| Err("not found".into())).map_err(unreadable)?
            }
            Source::Gguf(gguf) => (gguf.tensor(stored)?, gguf.is_f32(stored)),
        };
        report.loaded += 1;
        if !was_f32 {
            report.converted.push(name.to_string());
        }
        Ok(array)
    }
}

/// The second name of the bias of a head's last layer that is not tied: transformers 4 has one parameter with both
/// names and writes this one; transformers 5 has a second parameter that it never uses.
pub(crate) fn second_bias(name: &str) -> Option<String> {
    Some(format!("{}.bias", name.strip_suffix(".decoder.bias")?))
}

fn shorten(problems: &[String]) -> String {
    const SHOWN: usize = 20;
    let text = problems[..problems.len().min(SHOWN)].join("\n");
    match problems.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text}\n  ... and {more} more"),
    }
}

/// The files that an index lists; they must be in the same directory.
fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    let bad = |what: &str| Error::Weights(format!("{}: {what}", index.display()));
    let bytes = std::fs::read(index).map_err(|e| Error::io(index, e))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(&format!("not valid JSON: {e}")))?;
    let map = json.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| bad("has no object \"weight_map\""))?;
    let mut names: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let path = dir.join(name);
            if Path::new(name).components().count() != 1 || name.starts_with("..") {
                return Err(bad(&format!("names the file {name:?} outside the directory")));
            }
            if !path.is_file() {
                return Err(Error::NotFound { path, hint: format!("; {} names it", index.display()) });
            }
            Ok(path)
        })
        .collect()
}

/// The metadata that other libraries expect in weight files.
pub(super) const OF_WEIGHTS: (&str, &str) = ("format", "pt");

/// Write tensors as safetensors with one metadata entry, a name and its value.
pub(crate) fn write_safetensors(
    tensors: Vec<(String, Array)>,
    (name, value): (&str, impl Into<String>),
    path: &Path,
) -> Result<()> {
    let metadata = HashMap::from([(name.to_string(), value.into())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => Error::Io { path: path.to_path_buf(), source },
        other => Error::Weights(format!("{}: {other}", path.display())),
    })
}
