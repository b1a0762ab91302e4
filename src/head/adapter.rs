//! Models whose backbone has an adapter, in PEFT's files: the adapter, the head, and what else was trained.

use std::path::Path;

use serde_json::{Value, json};

use super::published::{Labels, Published};
use super::targets::TargetKind;
use super::task::Task;
use super::task_model::TaskModel;
use crate::array::Array;
use crate::backbone::{Backbone, Level, MADE_ON, Owner, Parameters, Pooling, ToWrite, module_of, write_adapter};
use crate::error::{Error, Result};

impl TaskModel {
    /// Write the adapter, the head and what else was trained of the backbone; `names` are the labels of the outputs.
    ///
    /// # Errors
    /// `Error::Value` if there is no adapter, or PEFT's files cannot hold what was trained.
    ///
    /// `max_length` is the number of tokens that texts were cut to, if it differs from the backbone's.
    pub fn save_adapter(
        &self,
        dir: &Path,
        names: &[String],
        are_numbers: bool,
        max_length: Option<usize>,
    ) -> Result<()> {
        let backbone = &self.backbone;
        let [adapter] = backbone.params.adapters() else {
            return Err(Error::Value(format!(
                "the model has {} adapters, expected one: strategy=LoRA() or MiSS() trains one; save() writes whole models",
                backbone.params.adapters().len()
            )));
        };
        // PEFT saves modules whole.
        let changed: Vec<&str> = backbone.params.changed()?.into_iter().map(|(name, _)| module_of(name)).collect();
        let of_backbone = backbone.params.iter().filter(|(name, _)| changed.contains(&module_of(name)));
        let of_backbone: Vec<(&str, &Array)> = of_backbone.collect();
        // transformers has no class for a head on sentence vectors, as for `save`.
        let has_class = !self.options().is_on_sentence();
        let poolings = self.options().pooling.iter().map(|pooling| pooling.name());
        let pooling: Option<Vec<&str>> = (!has_class).then(|| poolings.collect());
        let metadata = json!({
            MADE_ON: backbone.fingerprint()?,
            "labels": names,
            "labels_are_numbers": are_numbers,
            "kind": self.task.head.learns_from().name(),
            "pooling": pooling,
            "max_length": max_length,
        });
        let what = ToWrite {
            adapter,
            params: &backbone.params,
            of_backbone,
            of_head: self.head.iter().collect(),
            task_type: match self.task.head.level() {
                _ if !has_class => "FEATURE_EXTRACTION",
                Level::Texts => "SEQ_CLS",
                Level::Words => "TOKEN_CLS",
                Level::Tokens => "CAUSAL_LM",
            },
            has_class,
            base: &backbone.source,
            metadata: &metadata,
        };
        write_adapter(dir, &what, &backbone.config, &Backbone::specs(&backbone.config))
    }

    /// A copy whose adapters are merged into the weights.
    pub fn merged(&self) -> Result<Self> {
        Ok(Self { backbone: self.backbone.merged()?, ..self.clone() })
    }

    /// Put the adapter in `dir` on a backbone, together with the head that it brings. `kind` says for which targets, as in
    /// [`TaskModel::from_pretrained`]; `any_base` allows a backbone other than the one that the adapter was made on.
    ///
    /// # Errors
    /// Those of [`Backbone::with_adapter`], and `Error::Weights` if the adapter brings no such head.
    ///
    /// Also returns the number of tokens that texts were cut to, if the files name one.
    pub fn from_adapter(
        backbone: &Backbone,
        dir: &Path,
        kind: TargetKind,
        any_base: bool,
    ) -> Result<(Published, Option<usize>)> {
        let file = backbone.read_adapter(dir, "default", any_base)?;
        let metadata = file.metadata.clone();
        let (mut backbone, brought) = backbone.adapted(file)?;
        let field = |name: &str| metadata.as_ref().and_then(|metadata| metadata.get(name));
        if let Some(names) = field("pooling").and_then(Value::as_array) {
            let names = names.iter().filter_map(Value::as_str);
            let pooling = names.map(Pooling::parse).collect::<Result<Vec<_>>>()?;
            backbone = backbone.with_classifier_pooling(pooling)?;
        }
        let max_length = field("max_length").and_then(Value::as_u64).map(|tokens| tokens as usize);
        let level = if kind == TargetKind::Tags { Level::Words } else { Level::Texts };
        let options = backbone.config.head(level);
        let output = brought.get(&format!("{}.weight", options.output)).map_err(|_| {
            let found: Vec<&str> = brought.iter().map(|(name, _)| name).take(5).collect();
            let found = if found.is_empty() { "no head".into() } else { found.join(", ") };
            Error::Weights(format!(
                "{}: the adapter brings {found}, and {}.weight is missing, the last layer of the head; \
                 Backbone.with_adapter opens it for a new head",
                dir.display(),
                options.output
            ))
        })?;
        let n_outputs = output.dims2()?.0;
        let named = metadata.as_ref().and_then(|metadata| of_metadata(metadata, kind));
        let is_sorted = named.is_some();
        let labels = match named {
            Some(labels) => labels?,
            None => of_config(&backbone, kind, n_outputs),
        };
        let task = Task::of_outputs(labels.kind, labels.names.len())?;
        let specs = task.specs(&backbone.config);
        let unknown = brought.iter().map(|(name, _)| name).find(|name| specs.iter().all(|spec| spec.name != *name));
        if let Some(name) = unknown {
            return Err(Error::Weights(format!("{}: {name} is no part of backbone or head", dir.display())));
        }
        let mut head = Parameters::default();
        for spec in &specs {
            let array = brought
                .get(&spec.name)
                .map_err(|_| Error::Weights(format!("{}: the head's {} is missing", dir.display(), spec.name)))?;
            if array.dims() != spec.shape {
                return Err(Error::Weights(format!(
                    "{}: {} has shape {:?}, expected {:?}",
                    dir.display(),
                    spec.name,
                    array.dims(),
                    spec.shape
                )));
            }
            head.insert(&spec.name, &Owner::head(&task.name), array.clone());
        }
        let takes_pooler = level == Level::Texts && !task.head.layers(&backbone.config).is_on_sentence();
        if let Some(missing) = backbone.report.missing.first().filter(|_| takes_pooler) {
            return Err(Error::Weights(format!(
                "{}: neither the base model nor the adapter has {missing}, which the head takes",
                dir.display()
            )));
        }
        let (labels, head) = if is_sorted { (labels, head) } else { labels.sorted(head, options)? };
        Ok((Published { model: Self { backbone: backbone.clone(), head, task }, labels }, max_length))
    }
}

/// The labels as our own files name them; None for files that do not.
fn of_metadata(metadata: &Value, kind: TargetKind) -> Option<Result<Labels>> {
    let names: Vec<String> = serde_json::from_value(metadata.get("labels")?.clone()).ok()?;
    let are_numbers = metadata.get("labels_are_numbers")?.as_bool()?;
    let found = TargetKind::parse(metadata.get("kind")?.as_str()?).ok()?;
    let fits = found == kind || (kind == TargetKind::Classes && found == TargetKind::Indicators);
    if !fits {
        let estimator = match found {
            TargetKind::Numbers => "TextRegressor",
            TargetKind::Tags => "TokenClassifier",
            _ => "TextClassifier",
        };
        let message = format!("the adapter's head is of {}: open it with {estimator}.from_pretrained", found.name());
        return Some(Err(Error::Value(message)));
    }
    Some(Ok(Labels { names, are_numbers, kind: found, note: None }))
}

/// The labels of the base model's configuration, if it has as many; else numbered ones, with a note.
fn of_config(backbone: &Backbone, kind: TargetKind, n_outputs: usize) -> Labels {
    match Labels::read(&backbone.config.raw, kind) {
        Ok(labels) if labels.names.len() == n_outputs => labels,
        _ => {
            let names: Vec<String> = (0..n_outputs).map(|i| format!("LABEL_{i}")).collect();
            let note = "neither the adapter's files nor the base model's config.json name the outputs: they are called \
                        LABEL_0 and on";
            let kind = if kind == TargetKind::Classes && n_outputs == 1 { TargetKind::Numbers } else { kind };
            Labels { names, are_numbers: false, kind, note: Some(note.into()) }
        }
    }
}
