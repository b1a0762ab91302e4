//! A backbone with a classification head: predict, save, load.

use std::path::Path;

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::layers::Head;
use crate::backbone::{
    Backbone, Checkpoint, Config, LoadReport, METADATA, Mode, Parameters, Spec, collect_rows, replaced_files,
    same_values, stage_common, stage_weights,
};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::product::Precision;
use crate::rng::{Key, Stream};
use crate::text::Encodings;

/// A fitted classifier. Immutable; cloning shares everything.
#[derive(Clone)]
pub struct SequenceClassifier {
    /// Its parameters are those after training.
    pub backbone: Backbone,
    /// The classifier's own parameters.
    pub head: Parameters,
}

impl SequenceClassifier {
    /// The parameters of backbone and head.
    pub fn specs(backbone: &Backbone, n_outputs: usize) -> Vec<Spec> {
        Self::specs_of(&backbone.config, n_outputs)
    }

    fn specs_of(config: &Config, n_outputs: usize) -> Vec<Spec> {
        let mut specs = Backbone::specs(config);
        specs.extend(Self::head_specs(config, n_outputs));
        specs
    }

    /// The parameters that a backbone does not have already.
    pub fn head_specs(config: &Config, n_outputs: usize) -> Vec<Spec> {
        let mut specs = Head::specs(config, &config.classifier, n_outputs);
        specs.retain(|spec| !config.is_pooler(&spec.name));
        specs
    }

    /// From a backbone and all parameters by name.
    pub fn new(backbone: &Backbone, all: &Parameters) -> Self {
        let in_backbone = |name: &str| backbone.params.get(name).is_ok();
        // What the checkpoint lacked has been trained since.
        let report = LoadReport { missing: Vec::new(), ..(*backbone.report).clone() };
        Self {
            backbone: backbone.with_params(all.filter(in_backbone), report),
            head: all.filter(|name| !in_backbone(name)),
        }
    }

    /// Parameters of backbone and head by name.
    pub fn params(&self) -> Parameters {
        self.backbone.params.iter().chain(self.head.iter()).map(|(n, t)| (n.to_string(), t.clone())).collect()
    }

    /// The number of outputs, `C`.
    pub fn n_outputs(&self) -> Result<usize> {
        let output = format!("{}.weight", self.backbone.config.classifier.output);
        Ok(self.head.get(&output)?.dim(0)?)
    }

    /// Logits, row-major `[N, C]` in input order. `progress` gets the number of tokens done and may stop the work.
    pub fn logits(
        &self,
        encodings: &Encodings,
        batch_tokens: usize,
        precision: Precision,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let (params, config) = (self.params(), &self.backbone.config);
        let encoder = self.backbone.encoder(precision)?;
        let head = Head::load(&params, config, &config.classifier, self.n_outputs()?)?;
        let mode = Mode::inference();
        let forward = |batch: &PackedBatch| {
            let hidden = encoder.forward(batch, config.num_hidden_layers, mode)?;
            head.forward(&config.classifier.pooling.apply(&hidden, batch)?, mode)
        };
        collect_rows(encodings, batch_tokens, self.n_outputs()?, &forward, progress)
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
        let mut staged = Staged::begin(dir)?;
        stage_common(&mut staged, &self.backbone, &self.config(labels, multi_label))?;
        staged.write(METADATA, metadata.as_bytes())?;
        let prefix = self.backbone.config.family.names.prefix;
        let named = |(name, tensor): (&str, &Tensor)| (format!("{prefix}{name}"), tensor.clone());
        let mut tensors: Vec<(String, Tensor)> = self.backbone.params.iter().map(named).collect();
        tensors.extend(self.head.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())));
        stage_weights(&mut staged, tensors, max_shard_bytes)?;
        let (read_back, _) = Self::load(staged.directory())?;
        self.compare(&read_back, dir)?;
        staged.commit(replaced_files)
    }

    fn config(&self, labels: &[String], multi_label: bool) -> Map<String, Value> {
        let mut config = self.backbone.config.raw.clone();
        let id2label: Map<String, Value> = labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
        let label2id: Map<String, Value> = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
        config.insert("architectures".into(), json!([self.backbone.config.class("ForSequenceClassification")]));
        config.insert("id2label".into(), id2label.into());
        config.insert("label2id".into(), label2id.into());
        let problem = if multi_label { "multi_label_classification" } else { "single_label_classification" };
        config.insert("problem_type".into(), problem.into());
        config.remove("num_labels");
        config
    }

    fn compare(&self, read_back: &Self, dir: &Path) -> Result<()> {
        let limit = self.backbone.max_length().min(64);
        let probe = ["a text to compare by", "another one, of a different length!"].map(String::from);
        let encodings = self.backbone.tokenizer.encode(&probe, None, limit)?;
        let logits = |model: &Self| model.logits(&encodings, usize::MAX, Precision::F32, &mut |_| Ok(()));
        let same_logits = logits(self)?.iter().zip(logits(read_back)?).all(|(a, b)| a.to_bits() == b.to_bits());
        let again = read_back.backbone.tokenizer.encode(&probe, None, limit)?;
        let same_tokens = (0..probe.len()).all(|i| encodings.ids(i) == again.ids(i));
        if same_logits && same_tokens && same_values(&self.params(), &read_back.params())? {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "{}: what was written does not read back as the same model; nothing was replaced",
            dir.display()
        )))
    }

    /// Read what [`SequenceClassifier::save`] wrote: the model and the metadata.
    pub fn load(dir: &Path) -> Result<(Self, String)> {
        let (config, side_files) = Backbone::read_directory(dir)?;
        let path = dir.join(METADATA);
        if !path.is_file() {
            let hint = "; this directory was not written by save(). Read it with Backbone.from_pretrained and fit a TextClassifier";
            return Err(Error::NotFound { path, hint: hint.into() });
        }
        let metadata = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let n_outputs = config.raw.get("id2label").and_then(Value::as_object).map_or(0, Map::len);
        let (specs, names) = (Self::specs_of(&config, n_outputs), &config.family.names);
        let (params, report) =
            Checkpoint::open(dir)?.load(names, &specs, |_| false, |_| false, Key::new(0, Stream::Init))?;
        let own: Vec<String> = Self::head_specs(&config, n_outputs).into_iter().map(|spec| spec.name).collect();
        let in_head = |name: &str| own.iter().any(|own| own == name);
        let backbone =
            Backbone::assemble(config, params.filter(|n| !in_head(n)), side_files, report, dir.display().to_string())?;
        Ok((Self { backbone, head: params.filter(in_head) }, metadata))
    }

    /// True where a parameter is the head's: new, or a pooler that the checkpoint did not have.
    pub fn is_head(name: &str, backbone: &Backbone) -> bool {
        backbone.params.get(name).is_err() || backbone.report.missing.iter().any(|missing| missing == name)
    }
}
