//! A backbone with a head that classifies texts or their words: predict, save, load.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::classifier_network::ClassifierNetwork;
use super::layers::Head;
use super::{padding, saving};
use crate::array::Array;
use crate::backbone::{
    Backbone, Config, HeadOptions, Mode, Owner, Parameters, Spec, Task, check_finite, collect_rows, same_values,
};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::product::Precision;
use crate::rng::{Key, Stream};
use crate::text::{Encodings, Tokenizer};

/// What transformers adds to the name of a model with such a head.
pub(super) fn class(task: Task) -> &'static str {
    match task {
        Task::Texts => "ForSequenceClassification",
        Task::Words => "ForTokenClassification",
    }
}

/// What a saved model's head classifies.
fn task(config: &Config) -> Task {
    let of_words = |name: &Value| name.as_str().is_some_and(|name| name.ends_with(class(Task::Words)));
    match config.raw.get("architectures").and_then(Value::as_array) {
        Some(names) if names.iter().any(of_words) => Task::Words,
        _ => Task::Texts,
    }
}

/// The last map of a head: weight `[C, D]`, row-major, and bias `[C]`.
pub struct LinearMap {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What a head begins from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// As it is initialised.
    New,
    /// The last map is this one, the rest as it is initialised.
    LastMap(&'a LinearMap),
    /// A head with as many outputs.
    Head(&'a Parameters),
}

/// A fitted classifier. Immutable; cloning shares everything.
#[derive(Clone)]
pub struct Classifier {
    /// Its parameters are those after training.
    pub backbone: Backbone,
    /// The classifier's own parameters.
    pub head: Parameters,
    pub task: Task,
}

impl Classifier {
    /// The parameters of backbone and head.
    pub fn specs(backbone: &Backbone, task: Task, n_outputs: usize) -> Vec<Spec> {
        [Backbone::specs(&backbone.config), Self::head_specs(&backbone.config, task, n_outputs)].concat()
    }

    /// The parameters that a backbone does not have already.
    pub fn head_specs(config: &Config, task: Task, n_outputs: usize) -> Vec<Spec> {
        let mut specs = Head::specs(config, config.head(task), n_outputs);
        specs.retain(|spec| !config.is_pooler(&spec.name));
        specs.into_iter().map(|spec| spec.of(&Owner::head(task.name()))).collect()
    }

    /// All parameters before training: the backbone's and the head's, of which those that are new are drawn from `seed`.
    pub fn initial(backbone: &Backbone, task: Task, n_outputs: usize, start: Start, seed: u64) -> Result<Parameters> {
        let head = Self::head_specs(&backbone.config, task, n_outputs);
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
        let options = backbone.config.head(task);
        for (name, values) in
            [(format!("{}.weight", options.output), &last.weight), (options.output_bias.to_string(), &last.bias)]
        {
            if name.is_empty() {
                if values.iter().any(|value| *value != 0.0) {
                    return Err(Error::Value("this head has no bias; its last map was given one".into()));
                }
                continue;
            }
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

    /// A parameter of a new head that is not its last map's; none if all but that one was pretrained.
    pub fn untrained_below(backbone: &Backbone, task: Task) -> Option<String> {
        let options = backbone.config.head(task);
        let last = [format!("{}.weight", options.output), options.output_bias.to_string()];
        let specs = [Backbone::specs(&backbone.config), Self::head_specs(&backbone.config, task, 1)].concat();
        let in_head = Head::specs(&backbone.config, options, 1);
        let in_head = |spec: &Spec| in_head.iter().any(|other| other.name == spec.name);
        let found = specs
            .into_iter()
            .find(|spec| in_head(spec) && Self::begins_anew(spec, backbone) && !last.contains(&spec.name));
        found.map(|spec| spec.name)
    }

    /// What the last map of a new head takes, row-major `[N, D']` in input order, of texts or of words, and `D'`: the head before it
    /// must be the backbone's own.
    pub fn features(
        backbone: &Backbone,
        task: Task,
        encodings: &Encodings,
        batch_tokens: usize,
        precision: Precision,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<(Vec<f32>, usize)> {
        let config = &backbone.config;
        if let Some(name) = Self::untrained_below(backbone, task) {
            return Err(Error::Value(format!("{name} would be new, too: a new head has more than one map")));
        }
        let params = Self::initial(backbone, task, 1, Start::New, 0)?;
        let network = ClassifierNetwork::new(backbone.encoder(precision)?, &params, config, task, 1)?;
        let columns = params.get(&format!("{}.weight", config.head(task).output))?.dims2()?.1;
        let forward = |batch: &PackedBatch| {
            let pooled = network.pooled(batch, Mode::inference())?;
            check_finite(&pooled.array().values()?, || params.clone())?;
            network.head.before_output(&pooled, Mode::inference())
        };
        Ok((collect_rows(encodings, batch_tokens, (columns, &params), &forward, progress)?, columns))
    }

    /// From a backbone and all parameters by name.
    pub fn new(backbone: &Backbone, all: &Parameters, task: Task) -> Self {
        let (own, head) = all.split_heads();
        // What the checkpoint lacked has been trained since.
        let report = backbone.report.trained();
        Self { backbone: backbone.with_params(own, report), head, task }
    }

    /// The head's.
    pub(crate) fn options(&self) -> &HeadOptions {
        self.backbone.config.head(self.task)
    }

    /// Parameters of backbone and head by name.
    pub fn params(&self) -> Parameters {
        self.backbone.params.with(&self.head)
    }

    /// The number of outputs, `C`.
    pub fn n_outputs(&self) -> Result<usize> {
        let output = format!("{}.weight", self.options().output);
        Ok(self.head.get(&output)?.dims2()?.0)
    }

    /// Logits, row-major `[N, C]` in input order, of texts or of words. `progress` gets the number of tokens done and may stop the work.
    pub fn logits(
        &self,
        encodings: &Encodings,
        batch_tokens: usize,
        precision: Precision,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let (params, config, n_outputs) = (self.params(), &self.backbone.config, self.n_outputs()?);
        let network = ClassifierNetwork::new(self.backbone.encoder(precision)?, &params, config, self.task, n_outputs)?;
        let mode = Mode::inference();
        let forward = |batch: &PackedBatch| {
            let pooled = network.pooled(batch, mode)?;
            // The head may make finite numbers of it.
            check_finite(&pooled.array().values()?, || params.clone())?;
            network.head.forward(&pooled, mode)
        };
        collect_rows(encodings, batch_tokens, (n_outputs, &params), &forward, progress)
    }

    /// Write a Hugging Face directory and `metadata`, read it back, compare logits, then replace what was there. No weight
    /// file is larger than `max_shard_bytes`.
    pub fn save(
        &self,
        dir: &Path,
        labels: &[String],
        multi_label: bool,
        metadata: &str,
        max_shard_bytes: u64,
    ) -> Result<()> {
        if labels.len() != self.n_outputs()? {
            return Err(Error::Value(format!("got {} labels for {} outputs", labels.len(), self.n_outputs()?)));
        }
        let mut config = self.config(labels, multi_label);
        let (mut backbone, head) = (self.backbone.clone(), &self.head);
        if let Some((id, token)) = padding::token(&backbone)? {
            config.insert("pad_token_id".into(), id.into());
            backbone.side_files = padding::name_in(&backbone.side_files, &token)?.into();
        }
        let backbone = &backbone;
        let same = |written: &Path| self.is_same(&Self::load(written)?.0);
        let written = saving::Written { backbone, head, config: &config, metadata, max_shard_bytes };
        saving::save(dir, &written, None, same)
    }

    fn config(&self, labels: &[String], multi_label: bool) -> Map<String, Value> {
        let mut config = self.backbone.config.raw.clone();
        let id2label: Map<String, Value> = labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
        let label2id: Map<String, Value> = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
        // transformers has no head that takes sentence vectors.
        let name = if self.options().is_on_sentence() { "Model" } else { class(self.task) };
        config.insert("architectures".into(), json!([self.backbone.config.class(name)]));
        config.insert("id2label".into(), id2label.into());
        config.insert("label2id".into(), label2id.into());
        let problem = if multi_label { "multi_label_classification" } else { "single_label_classification" };
        match self.task {
            Task::Texts => config.insert("problem_type".into(), problem.into()),
            Task::Words => config.remove("problem_type"),
        };
        config.remove("num_labels");
        config
    }

    fn is_same(&self, read_back: &Self) -> Result<bool> {
        let limit = self.backbone.max_length().min(64);
        let probe = ["a text to compare by", "another one, of a different length!"].map(String::from);
        let encode = |tokenizer: &Tokenizer| match self.task {
            Task::Texts => tokenizer.encode(&probe, None, limit),
            Task::Words => tokenizer.encode_windows(&probe, limit).map(|windows| windows.encodings),
        };
        let encodings = encode(&self.backbone.tokenizer)?;
        let logits = |model: &Self| model.logits(&encodings, usize::MAX, Precision::F32, &mut |_| Ok(()));
        let same_logits = logits(self)?.iter().zip(logits(read_back)?).all(|(a, b)| a.to_bits() == b.to_bits());
        let again = encode(&read_back.backbone.tokenizer)?;
        let same_tokens =
            encodings.len() == again.len() && (0..encodings.len()).all(|i| encodings.ids(i) == again.ids(i));
        Ok(same_logits && same_tokens && same_values(&self.params(), &read_back.params())?)
    }

    /// Read what [`Classifier::save`] wrote: the model and the metadata.
    pub fn load(dir: &Path) -> Result<(Self, String)> {
        let hint = "; this directory was not written by save(). Read it with Backbone.from_pretrained and fit a TextClassifier";
        let n_outputs = |config: &Config| config.raw.get("id2label").and_then(Value::as_object).map_or(0, Map::len);
        let head = |config: &Config| Self::head_specs(config, task(config), n_outputs(config));
        let (backbone, head, metadata) = saving::load(dir, hint, head)?;
        let task = task(&backbone.config);
        Ok((Self { backbone, head, task }, metadata))
    }

    /// True of a parameter that no checkpoint had: of the head, or a pooler that begins anew with it.
    pub fn begins_anew(spec: &Spec, backbone: &Backbone) -> bool {
        spec.owner != Owner::Backbone || backbone.report.missing.contains(&spec.name)
    }
}
