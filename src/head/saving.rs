//! Save and load models with a head as Hugging Face directories.

use std::path::Path;

use serde_json::{Map, Value};

use crate::array::Array;
use crate::backbone::{
    Backbone, Checkpoint, Config, METADATA, Parameters, Spec, replaced_files, second_bias, stage_common, stage_weights,
};
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::rng::{Key, Stream};

/// The parts of a model to write.
pub(super) struct Written<'a> {
    pub backbone: &'a Backbone,
    pub head: &'a Parameters,
    /// Contents of `config.json`.
    pub config: &'a Map<String, Value>,
    pub metadata: &'a str,
    /// Maximum size of a weight file in bytes.
    pub max_shard_bytes: u64,
}

/// A second model in a subfolder of the directory, replaced together with the first.
pub(super) struct Beside<'a> {
    pub folder: &'static str,
    pub save: &'a dyn Fn(&Path) -> Result<()>,
}

/// Write a model to a staging directory, check with `same` that it reads back equal, then replace what was in `dir`.
pub(super) fn save(
    dir: &Path,
    model: &Written,
    beside: Option<Beside>,
    same: impl FnOnce(&Path) -> Result<bool>,
) -> Result<()> {
    let Written { backbone, head, config, metadata, max_shard_bytes } = *model;
    backbone.params.check_without_adapters("saved")?;
    let mut staged = Staged::begin(dir)?;
    if let Some(Beside { folder, save }) = &beside {
        save(&staged.directory().join(folder))?;
        staged.adopt(folder)?;
    }
    stage_common(&mut staged, backbone, config)?;
    staged.write(METADATA, metadata.as_bytes())?;
    let prefix = backbone.config.family.names.prefix;
    let named = |(name, tensor): (&str, &Array)| (format!("{prefix}{name}"), tensor.clone());
    let of_transformer = backbone.params.iter().filter(|(name, _)| !backbone.config.is_of_sentence(name));
    let mut arrays: Vec<(String, Array)> = of_transformer.map(named).collect();
    arrays.extend(head.iter().map(|(name, array)| (name.to_string(), array.clone())));
    // Written under both names, it is found by either version of transformers.
    arrays.extend(head.iter().filter_map(|(name, array)| Some((second_bias(name)?, array.clone()))));
    stage_weights(&mut staged, arrays, max_shard_bytes)?;
    if !same(staged.directory())? {
        return Err(Error::Weights(format!(
            "{}: what was written does not read back as the same model; nothing was replaced",
            dir.display()
        )));
    }
    staged.commit(|dir| {
        let mut stale = replaced_files(dir)?;
        if let Some(Beside { folder, .. }) = beside.filter(|beside| dir.join(beside.folder).is_dir()) {
            stale.extend(replaced_files(&dir.join(folder))?.into_iter().map(|name| format!("{folder}/{name}")));
        }
        Ok(stale)
    })
}

/// Read what [`save`] wrote: the backbone, the parameters of the head, and the metadata. `hint` ends the error for a
/// directory without metadata and says how else to read it.
pub(super) fn load(
    dir: &Path,
    hint: &str,
    head_specs: impl FnOnce(&Config) -> Result<Vec<Spec>>,
) -> Result<(Backbone, Parameters, String)> {
    let path = dir.join(METADATA);
    if dir.is_dir() && !path.is_file() {
        return Err(Error::NotFound { path, hint: hint.into() });
    }
    let (config, side_files) = Backbone::read_directory(dir)?;
    let metadata = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let specs = [Backbone::specs_of_transformer(&config), head_specs(&config)?].concat();
    let none = |_: &str| false;
    let (mut params, mut report) =
        Checkpoint::open(dir)?.load(&config.family.names, &specs, none, none, Key::new(0, Stream::Init))?;
    Backbone::load_dense(&config, dir, &mut params, &mut report)?;
    let (own, head) = params.split_heads();
    let source = dir.display().to_string();
    let backbone = Backbone::assemble(config, own, side_files, report, source)?;
    Ok((backbone, head, metadata))
}
