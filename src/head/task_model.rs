//! A backbone with the head of a task on its texts or their words: predict, save, load.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::targets::TargetKind;
use super::task::Task;
use super::task_network::TaskNetwork;
use super::{cross_encoder, padding, saving};
use crate::array::Array;
use crate::backbone::{
    Backbone, Config, HeadOptions, Level, Mode, Owner, Parameters, Spec, check_finite, collect_rows, same_values,
};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::rng::{Key, Stream};
use crate::text::{Encodings, Tokenizer};

/// The output layer of a head: weight `[C, D]`, row-major, and bias `[C]`.
pub struct LinearMap {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Initial values of a head.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Random initialisation.
    New,
    /// The output layer is given; the rest is initialised randomly.
    LastMap(&'a LinearMap),
    /// The parameters of a head with the same shapes.
    Head(&'a Parameters),
}

/// A fitted model. Immutable; cloning shares everything.
#[derive(Clone)]
pub struct TaskModel {
    /// The backbone with its parameters after training.
    pub backbone: Backbone,
    /// The parameters of the task's head.
    pub head: Parameters,
    pub task: Task,
}

impl TaskModel {
    /// Specs of the parameters of backbone and head.
    pub fn specs(backbone: &Backbone, task: &Task) -> Vec<Spec> {
        [Backbone::specs(&backbone.config), task.specs(&backbone.config)].concat()
    }

    /// All parameters of backbone and head before training; new ones are drawn from `seed`.
    pub fn initial(backbone: &Backbone, task: &Task, start: Start, seed: u64) -> Result<Parameters> {
        let head = task.specs(&backbone.config);
        if let Start::Head(given) = start {
            for spec in &head {
                let shape = given.get(&spec.name)?.dims();
                if shape != spec.shape {
                    return Err(Error::internal(format!("{}: got {shape:?}, expected {:?}", spec.name, spec.shape)));
                }
            }
            return Ok(backbone.params.with(given));
        }
        let mut params = backbone.params.with(&Parameters::initialised(&head, Key::new(seed, Stream::Init))?);
        let Start::LastMap(last) = start else { return Ok(params) };
        let (weight, bias) = task.output_layer(&backbone.config);
        if bias.is_none() && last.bias.iter().any(|value| *value != 0.0) {
            return Err(Error::Value("this head has no bias; its last map was given one".into()));
        }
        for (name, values) in [(weight, &last.weight)].into_iter().chain(bias.map(|name| (name, &last.bias))) {
            let shape = params.get(&name)?.shape().clone();
            if shape.elem_count() != values.len() || values.iter().any(|value| !value.is_finite()) {
                return Err(Error::Value(format!(
                    "{name}: got {} values, expected {} finite ones, {shape:?}",
                    values.len(),
                    shape.elem_count()
                )));
            }
            params.replace(&name, Array::new(values.clone(), shape)?)?;
        }
        Ok(params)
    }

    /// Name of a newly initialised head parameter below the output layer; none if all of those are pretrained.
    pub fn untrained_below(backbone: &Backbone, task: &Task) -> Option<String> {
        let (weight, bias) = task.output_layer(&backbone.config);
        let is_last = |name: &String| *name == weight || bias.as_ref() == Some(name);
        let in_head: Vec<String> = task.head.specs(&backbone.config).into_iter().map(|spec| spec.name).collect();
        let in_head = |name: &String| in_head.iter().any(|other| other == name || task.scoped(other) == *name);
        let found = Self::specs(backbone, task)
            .into_iter()
            .find(|spec| in_head(&spec.name) && Self::begins_anew(spec, backbone) && !is_last(&spec.name));
        found.map(|spec| spec.name)
    }

    /// Inputs of a new head's output layer for all texts or words, row-major `[N, D']` in input order, and `D'`. The
    /// head's layers below must be pretrained.
    pub fn features(
        backbone: &Backbone,
        task: &Task,
        encodings: &Encodings,
        batch_tokens: usize,
        precision: Precision,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<(Vec<f32>, usize)> {
        let config = &backbone.config;
        if let Some(name) = Self::untrained_below(backbone, task) {
            return Err(Error::Value(format!("{name} would be new, too: a new head has more than one map")));
        }
        let params = Self::initial(backbone, task, Start::New, 0)?;
        let network = TaskNetwork::new(backbone.encoder(precision)?, &params, config, task)?;
        let columns = params.get(&task.output_layer(config).0)?.dims2()?.1;
        let forward = |batch: &PackedBatch| {
            let pooled = network.pooled(batch, Mode::inference())?;
            check_finite(&pooled.array().values()?, || params.clone())?;
            network.layers.before_output(&pooled, Mode::inference())
        };
        Ok((collect_rows(encodings, batch_tokens, (columns, &params), &forward, progress)?, columns))
    }

    /// The same model with each output multiplied by `scale` and shifted by `shift`, `[C]` each, by changing the output
    /// layer.
    ///
    /// # Errors
    /// `Error::Value` for a nonzero shift of a head without a bias.
    pub fn with_outputs_scaled(&self, scale: &[f32], shift: &[f32]) -> Result<Self> {
        let c = self.n_outputs();
        if scale.len() != c || shift.len() != c {
            return Err(Error::internal(format!("{} scales and {} shifts for {c} outputs", scale.len(), shift.len())));
        }
        let mut head = self.head.clone();
        let (name, bias_name) = self.task.output_layer(&self.backbone.config);
        let weight = head.get(&name)?.clone();
        let columns = weight.dims2()?.1;
        let scaled = weight.values()?.iter().enumerate().map(|(i, w)| w * scale[i / columns]).collect();
        head.replace(&name, Array::new(scaled, (c, columns))?)?;
        if let Some(name) = bias_name {
            let bias = head.get(&name)?.clone();
            let values = bias.values()?;
            let moved = values.iter().zip(scale).zip(shift).map(|((b, scale), shift)| b * scale + shift).collect();
            head.replace(&name, Array::new(moved, c)?)?;
        } else if shift.iter().any(|shift| *shift != 0.0) {
            return Err(Error::Value("this head has no bias: its outputs cannot be moved".into()));
        }
        Ok(Self { head, ..self.clone() })
    }

    /// A model of a backbone and all parameters by name.
    pub fn new(backbone: &Backbone, all: &Parameters, task: Task) -> Self {
        let (own, head) = all.split_heads();
        // Parameters that the checkpoint lacked have been trained since.
        let report = backbone.report.trained();
        Self { backbone: backbone.with_params(own, report), head, task }
    }

    /// Options of the head's layers.
    pub(crate) fn options(&self) -> &HeadOptions {
        self.task.head.layers(&self.backbone.config)
    }

    /// Parameters of backbone and head by name.
    pub fn params(&self) -> Parameters {
        self.backbone.params.with(&self.head)
    }

    /// The number of outputs, `C`.
    pub fn n_outputs(&self) -> usize {
        self.task.head.n_outputs()
    }

    /// Outputs of texts or words, row-major `[N, C]` in input order. `progress` gets the number of tokens done and may
    /// stop the work.
    pub fn outputs(
        &self,
        encodings: &Encodings,
        batch_tokens: usize,
        precision: Precision,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let (params, config, n_outputs) = (self.params(), &self.backbone.config, self.n_outputs());
        let network = TaskNetwork::new(self.backbone.encoder(precision)?, &params, config, &self.task)?;
        let mode = Mode::inference();
        let forward = |batch: &PackedBatch| {
            let pooled = network.pooled(batch, mode)?;
            // Check before the head, which may turn values that are not finite into finite ones.
            check_finite(&pooled.array().values()?, || params.clone())?;
            network.outputs(&pooled, mode)
        };
        collect_rows(encodings, batch_tokens, (n_outputs, &params), &forward, progress)
    }

    /// Write a Hugging Face directory with `metadata` and the names of the outputs, read it back, compare outputs, then
    /// replace what was there. No weight file is larger than `max_shard_bytes`.
    pub fn save(&self, dir: &Path, names: &[String], metadata: &str, max_shard_bytes: u64) -> Result<()> {
        if !self.backbone.params.adapters().is_empty() {
            return self.merged()?.save(dir, names, metadata, max_shard_bytes);
        }
        if names.len() != self.n_outputs() {
            return Err(Error::Value(format!("got {} labels for {} outputs", names.len(), self.n_outputs())));
        }
        self.task.check_can_be_saved()?;
        let mut config = self.config(names);
        let (mut backbone, head) = (self.backbone.clone(), &self.head);
        if let Some((id, token)) = padding::token(&backbone)? {
            config.insert("pad_token_id".into(), id.into());
            backbone.side_files = padding::name_in(&backbone.side_files, &token)?.into();
        }
        if self.task.head.learns_from() == TargetKind::Numbers && !self.options().is_on_sentence() {
            // Else sentence-transformers would squash the numbers.
            cross_encoder::name_identity(&mut config);
        }
        let backbone = &backbone;
        let same = |written: &Path| self.is_same(&Self::load(written)?.0);
        let written = saving::Written { backbone, head, config: &config, metadata, max_shard_bytes };
        saving::save(dir, &written, None, same)
    }

    fn config(&self, names: &[String]) -> Map<String, Value> {
        let config = &self.backbone.config;
        let mut raw = config.raw.clone();
        // transformers has no head on sentence vectors.
        let class = config.family.class_of_head(self.task.head.level());
        let name = if self.options().is_on_sentence() { "Model" } else { class };
        raw.insert("architectures".into(), json!([config.class(name)]));
        self.task.head.configure(names, &mut raw);
        raw
    }

    fn is_same(&self, read_back: &Self) -> Result<bool> {
        let limit = self.backbone.max_length().min(64);
        let probe = ["a text to compare by", "another one, of a different length!"].map(String::from);
        let encode = |tokenizer: &Tokenizer| match self.task.head.level() {
            Level::Texts | Level::Tokens => tokenizer.encode(&probe, None, limit),
            Level::Words => tokenizer.encode_windows(&probe, limit).map(|windows| windows.encodings),
        };
        let encodings = encode(&self.backbone.tokenizer)?;
        let outputs = |model: &Self| model.outputs(&encodings, usize::MAX, Precision::F32, &mut |_| Ok(()));
        let same_outputs = outputs(self)?.iter().zip(outputs(read_back)?).all(|(a, b)| a.to_bits() == b.to_bits());
        let again = encode(&read_back.backbone.tokenizer)?;
        let same_tokens =
            encodings.len() == again.len() && (0..encodings.len()).all(|i| encodings.ids(i) == again.ids(i));
        Ok(same_outputs && same_tokens && same_values(&self.params(), &read_back.params())?)
    }

    /// Read what [`TaskModel::save`] wrote: the model and the metadata.
    pub fn load(dir: &Path) -> Result<(Self, String)> {
        let hint = "; this directory was not written by save(). Read it with Backbone.from_pretrained and fit a TextClassifier";
        let specs = |config: &Config| Ok(Task::of_config(config)?.specs(config));
        let (backbone, head, metadata) = saving::load(dir, hint, specs)?;
        let task = Task::of_config(&backbone.config)?;
        Ok((Self { backbone, head, task }, metadata))
    }

    /// True if no checkpoint had the parameter: it belongs to a new head, or to a pooler newly initialised below it.
    pub fn begins_anew(spec: &Spec, backbone: &Backbone) -> bool {
        spec.owner != Owner::Backbone || backbone.report.missing.contains(&spec.name)
    }
}
