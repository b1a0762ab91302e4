//! Opening a GGUF file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use serde_json::{Map, Value};

use super::architecture::{Architecture, Form};
use super::fields::Fields;
use super::header::{Header, Stored};
use super::metadata::Metadata;
use super::reader::Checked;
use super::values::{Order, Placed};
use super::{architectures, generation, rope_factors, tokenizer};
use crate::array::Array;
use crate::compute::MappedFile;
use crate::error::{Error, Result};

/// A GGUF file, which replaces a Hugging Face directory. Tensors stay in the mapped file, quantised, until they are
/// read.
pub struct Gguf {
    path: PathBuf,
    map: MappedFile,
    metadata: Metadata,
    architecture: &'static str,
    config: Map<String, Value>,
    /// Tensors by their Hugging Face name.
    tensors: BTreeMap<String, Placed>,
}

/// Finds the GGUF file: `path` itself, or the only one in the directory `path`. None if the directory has other
/// weights, whose file names are `names`.
pub fn find(path: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && path.is_file();
    if is_gguf(path) {
        return Ok(Some(path.to_path_buf()));
    }
    if !path.is_dir() || names.iter().any(|name| path.join(name).is_file()) {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| is_gguf(p)).collect();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        n => Err(Error::Value(format!("{}: holds {n} GGUF files; give the path of one of them", path.display()))),
    }
}

impl Gguf {
    /// Opens a file: reads and checks its header, but not the tensor values.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path)?;
        let at = |message: String| format!("{}: {message}", path.display());
        let Header { metadata, tensors } = Header::parse(&map).map_err(|e| Error::Weights(at(e)))?;
        let (architecture, mut config) = configure(&metadata, &tensors).map_err(|e| Error::Value(at(e)))?;
        let mut tensors = tensors;
        if architecture.name == "llama"
            && let Some(stored) = tensors.remove(rope_factors::NAME)
        {
            let scaling = divided_frequencies(&stored, &map, &config).map_err(|e| Error::Value(at(e)))?;
            config.insert("rope_scaling".into(), scaling);
        }
        let tensors = place(architecture, &config, tensors).map_err(|e| Error::Weights(at(e)))?;
        Ok(Self { path: path.to_path_buf(), map, metadata, architecture: architecture.name, config, tensors })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings as the fields of a `config.json` (names of transformers 4: `rope_theta`, `rope_scaling`).
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// Hugging Face names and shapes of the tensors, either of the whole model with its output layer or of a
    /// `BertModel`. A tied output layer is not listed.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, placed)| (name.as_str(), placed.shape.as_slice()))
    }

    /// A tensor by its Hugging Face name, de-quantised to f32.
    pub fn tensor(&self, name: &str) -> Result<Array> {
        match self.tensors.get(name) {
            Some(placed) => placed.read(&self.map),
            None => Err(Error::Weights(format!("{}: has no tensor {name}", self.path.display()))),
        }
    }

    /// True if the tensor is stored as f32.
    pub fn is_f32(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|placed| placed.stored.kind == GgmlDType::F32)
    }

    /// Pooling of token vectors into one text vector, by its sentence-transformers name; None if the file does not say.
    pub fn pooling(&self) -> Result<Option<&'static str>> {
        let bad = |message: String| Error::Value(format!("{}: {message}", self.path.display()));
        let key = format!("{}.pooling_type", self.architecture);
        match self.metadata.count(&key).map_err(bad)? {
            None | Some(0) => Ok(None),
            Some(1) => Ok(Some("mean")),
            Some(2) => Ok(Some("cls")),
            Some(3) => Ok(Some("lasttoken")),
            Some(other) => Err(bad(format!("{key} is {other}; supported: 0 none, 1 mean, 2 cls, 3 last"))),
        }
    }

    /// Chat templates by the names of the files that hold them in a Hugging Face directory.
    pub fn chat_templates(&self) -> Result<Vec<(String, String)>> {
        generation::chat_templates(&self.metadata).map_err(|e| Error::Data(format!("{}: {e}", self.path.display())))
    }

    /// Contents of a `generation_config.json`; None if the file says no more than which token ends a text.
    pub fn generation_config(&self) -> Result<Option<Value>> {
        generation::config(&self.metadata).map_err(|e| Error::Data(format!("{}: {e}", self.path.display())))
    }

    /// The tokenizer that the metadata describes.
    pub fn tokenizer(&self) -> Result<tokenizers::Tokenizer> {
        tokenizer::build(&self.metadata, &self.map, self.architecture)
            .map_err(|e| Error::Data(format!("{}: {e}", self.path.display())))
    }
}

fn configure(
    metadata: &Metadata,
    tensors: &BTreeMap<String, Stored>,
) -> Checked<(&'static Architecture, Map<String, Value>)> {
    let name = metadata.text("general.architecture")?.ok_or("has no general.architecture")?;
    let architecture = architectures::named(name)?;
    let fields = Fields::new(metadata, tensors, name);
    let config = (architecture.config)(&fields)?;
    fields.finish()?;
    Ok((architecture, config))
}

/// The `rope_scaling` of a Llama whose file has a tensor of divisors of the rotary frequencies.
fn divided_frequencies(stored: &Stored, bytes: &[u8], config: &Map<String, Value>) -> Checked<Value> {
    let number = |field: &str| config.get(field).and_then(Value::as_f64).unwrap_or_default();
    let (name, pairs) = (rope_factors::NAME, number("head_dim") / 2.0);
    if config.get("rope_scaling").is_some_and(|scaling| !scaling.is_null()) {
        return Err(format!("has both rope.scaling.type and {name}; supported: one of them"));
    }
    if stored.kind != GgmlDType::F32 || stored.shape.iter().product::<usize>() as f64 != pairs {
        return Err(format!(
            "has the tensor {name:?} of {:?} and shape {:?}; expected F32 and {pairs} values",
            stored.kind, stored.shape
        ));
    }
    let bytes = bytes.get(stored.bytes.clone()).unwrap_or_default();
    let divisors: Vec<f32> = bytes.chunks_exact(size_of::<f32>()).map(bytemuck::pod_read_unaligned).collect();
    rope_factors::scaling(&divisors, number("rope_theta"))
}

/// Maps tensors to their Hugging Face names; a tensor without such a name is an error.
fn place(
    architecture: &Architecture,
    config: &Map<String, Value>,
    tensors: BTreeMap<String, Stored>,
) -> Checked<BTreeMap<String, Placed>> {
    let heads = |field: &str| config.get(field).and_then(Value::as_u64).map_or(0, |n| n as usize);
    let place = |(name, stored): (String, Stored)| {
        let (theirs, form) = architecture.translate(&name).ok_or_else(|| {
            format!("has the tensor {name:?}, which a {} model does not; it is not supported", architecture.name)
        })?;
        let order = match form {
            Form::Same => Ok(Order::Same),
            Form::Transposed => Order::transposed(&stored.shape),
            Form::Queries => Order::rotary(&stored.shape, heads("num_attention_heads")),
            Form::Keys => Order::rotary(&stored.shape, heads("num_key_value_heads")),
        };
        let order = order.map_err(|e| format!("tensor {name:?} {e}"))?;
        Ok((theirs, Placed::new(stored, order)))
    };
    tensors.into_iter().map(place).collect()
}
