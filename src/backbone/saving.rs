//! Saves a backbone as a Hugging Face directory, atomically.

use std::path::Path;

use super::misplaced::ADAPTER_FILES;
use super::parameters::Parameters;
use super::pretrained::{Backbone, METADATA};
use super::shards::{shards_in, stage_weights};
use super::weights::{OF_WEIGHTS, WEIGHT_FILES, write_safetensors};
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::text::{SideFiles, side_files_in};

impl Backbone {
    /// Write a Hugging Face directory that `transformers.AutoModel` reads; weight files have at most `max_shard_bytes`.
    pub fn save_pretrained(&self, dir: &Path, max_shard_bytes: u64) -> Result<()> {
        if !self.params.adapters().is_empty() {
            return self.merged()?.save_pretrained(dir, max_shard_bytes);
        }
        let mut staged = Staged::begin(dir)?;
        let mut config = self.config.raw.clone();
        config.insert("architectures".into(), serde_json::json!([self.config.class("Model")]));
        stage_common(&mut staged, self, &config)?;
        let of_transformer = self.params.iter().filter(|(name, _)| !self.config.is_of_sentence(name));
        let arrays = of_transformer.map(|(name, array)| (name.to_string(), array.clone())).collect();
        stage_weights(&mut staged, arrays, max_shard_bytes)?;
        let read_back = Self::from_pretrained(staged.directory())?;
        if !same_values(&self.params, &read_back.params)? {
            return Err(Error::Weights(format!("{}: the weights read back differ from those written", dir.display())));
        }
        staged.commit(replaced_files)
    }
}

/// Files of an earlier save in `dir` that would change what is read, or would never be read, if they stayed.
pub(crate) fn replaced_files(dir: &Path) -> Result<Vec<String>> {
    let fixed = [&WEIGHT_FILES[..], &ADAPTER_FILES, &[METADATA]].concat();
    // A `modules.json` that cannot be read is replaced like any other file.
    let modules = SideFiles::read(dir).and_then(|files| files.modules()).unwrap_or_default().unwrap_or_default();
    let of_modules = modules
        .iter()
        .filter(|module| !module.path.is_empty())
        .flat_map(|module| ["config.json", WEIGHT_FILES[0], WEIGHT_FILES[2]].map(|name| module.file(name)));
    let found = side_files_in(dir)?.into_iter().chain(of_modules).chain(shards_in(dir)?);
    Ok(fixed.into_iter().map(String::from).chain(found).collect())
}

/// Stage `config.json`, the side files, and the dense layers of sentence vectors, which have their own folders.
pub(crate) fn stage_common(
    staged: &mut Staged,
    backbone: &Backbone,
    config: &serde_json::Map<String, serde_json::Value>,
) -> Result<()> {
    let mut config = config.clone();
    config.insert("torch_dtype".into(), "float32".into());
    config.remove("dtype");
    let text = serde_json::to_vec_pretty(&config).map_err(|e| Error::Value(format!("config.json: {e}")))?;
    staged.write("config.json", &text)?;
    let files = backbone.tokenizer.saved_files(&backbone.side_files, Some(backbone.config.takes_segments()))?;
    for (name, bytes) in &files.0 {
        staged.write(name, bytes)?;
    }
    for dense in backbone.config.sentence.iter().flat_map(|modules| &modules.dense) {
        let before = format!("{}.", dense.folder);
        let own = backbone.params.iter().filter_map(|(name, array)| Some((name.strip_prefix(&before)?, array)));
        let arrays = own.map(|(name, array)| (name.to_string(), array.clone())).collect();
        let file = staged.reserve(&format!("{}/{}", dense.folder, WEIGHT_FILES[0]))?;
        write_safetensors(arrays, OF_WEIGHTS, &file)?;
    }
    Ok(())
}

pub(crate) fn same_values(a: &Parameters, b: &Parameters) -> Result<bool> {
    for (name, array) in a.iter() {
        let other = b.get(name)?;
        let (a, b) = (array.values()?, other.values()?);
        if a.len() != b.len() || a.iter().zip(&*b).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Ok(false);
        }
    }
    Ok(true)
}
