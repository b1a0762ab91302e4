//! Conversions between Python's containers and the crate's.

use std::sync::Arc;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use safetensors::SafeTensors;

use super::errors::to_python;
use crate::array::Array;
use crate::backbone::{Backbone, Config, LoadReport, LowRank, Owner, Parameters, Spec};
use crate::error::{Error, Result};
use crate::report::{Facts, Point, Record, Row, Summary};
use crate::text::SideFiles;
use crate::train::{MemoryEstimate, Outcome};

/// Row-major values as an array float32 `[rows, columns]`.
pub fn matrix(py: Python<'_>, values: Vec<f32>, columns: usize) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    PyArray1::from_vec(py, values).reshape([rows, columns])
}

pub fn facts<'py>(py: Python<'py>, facts: &Facts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("total_steps", facts.total_steps)?;
    dict.set_item("total_tokens", facts.total_tokens)?;
    dict.set_item("tokens_done", facts.tokens_done)?;
    dict.set_item("steps_per_epoch", facts.steps_per_epoch)?;
    dict.set_item("batch_tokens", facts.batch_tokens)?;
    dict.set_item("trainable_parameters", facts.trainable_parameters)?;
    dict.set_item("parameters", facts.parameters)?;
    Ok(dict)
}

pub fn record<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("step", record.step)?;
    dict.set_item("epoch", record.epoch)?;
    dict.set_item("loss", record.loss)?;
    dict.set_item("learning_rate", record.learning_rate)?;
    dict.set_item("grad_norm", record.grad_norm)?;
    dict.set_item("tokens", record.tokens)?;
    dict.set_item("elapsed_s", record.elapsed_s)?;
    Ok(dict)
}

fn row<'py>(py: Python<'py>, row: &Row) -> PyResult<Bound<'py, PyDict>> {
    let dict = record(py, &row.record)?;
    if let Some(found) = &row.evaluation {
        dict.set_item("eval_loss", found.loss)?;
        dict.set_item("score", found.score)?;
    }
    Ok(dict)
}

fn point<'py>(py: Python<'py>, point: &Point) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("step", point.step)?;
    dict.set_item("epoch", point.epoch)?;
    dict.set_item("loss", point.loss)?;
    Ok(dict)
}

fn list<'py, T>(
    py: Python<'py>,
    all: &[T],
    of_one: impl Fn(Python<'py>, &T) -> PyResult<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, all.iter().map(|one| of_one(py, one)).collect::<PyResult<Vec<_>>>()?)
}

fn history<'py>(py: Python<'py>, summary: &Summary) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("rows", list(py, &summary.rows, row)?)?;
    dict.set_item("curve", list(py, &summary.curve.0, point)?)?;
    Ok(dict)
}

fn summary<'py>(py: Python<'py>, summary: &Summary, facts: &Facts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("steps", summary.last.step)?;
    dict.set_item("epochs", summary.last.epoch)?;
    dict.set_item("tokens", summary.last.tokens)?;
    dict.set_item("elapsed_s", summary.last.elapsed_s)?;
    dict.set_item("best_step", summary.best_step)?;
    dict.set_item("best_score", summary.best_score)?;
    dict.set_item("kept_step", summary.kept_step)?;
    dict.set_item("stopped_early", summary.stopped_early)?;
    dict.set_item("history", history(py, summary)?)?;
    dict.set_item("batch_tokens", facts.batch_tokens)?;
    dict.set_item("trainable_parameters", facts.trainable_parameters)?;
    dict.set_item("parameters", facts.parameters)?;
    Ok(dict)
}

/// Result of a run as a tuple: the model or None, a dict of facts, and the exception that stopped the run or None.
pub fn outcome<M, P>(py: Python<'_>, outcome: Outcome<M>, wrap: fn(M) -> P) -> PyResult<Bound<'_, PyTuple>>
where
    P: PyClass + Into<PyClassInitializer<P>>,
{
    let model = outcome.model.map(|model| Py::new(py, wrap(model))).transpose()?;
    let stopped = outcome.stopped.map(|error| to_python(error).into_value(py));
    let facts = summary(py, &outcome.summary, &outcome.facts)?;
    facts.set_item("was_finished", outcome.was_finished)?;
    (model, facts, stopped).into_pyobject(py)
}

pub fn memory<'py>(py: Python<'py>, memory: &MemoryEstimate) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("trainable", memory.trainable)?;
    dict.set_item("gradients", memory.gradients)?;
    dict.set_item("optimizer", memory.optimizer)?;
    dict.set_item("kept", memory.kept)?;
    dict.set_item("activations", memory.activations)?;
    dict.set_item("scratch", memory.scratch)?;
    dict.set_item("loss", memory.loss)?;
    dict.set_item("evaluation", memory.evaluation)?;
    dict.set_item("allocator", memory.allocator)?;
    Ok(dict)
}

pub fn load_report<'py>(py: Python<'py>, report: &LoadReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("loaded", report.loaded)?;
    dict.set_item("missing", &report.missing)?;
    dict.set_item("ignored", &report.ignored)?;
    dict.set_item("converted", &report.converted)?;
    dict.set_item("not_finite", &report.not_finite)?;
    dict.set_item("prefix", &report.prefix)?;
    Ok(dict)
}

/// The whole model for pickling: configuration, side files, and its parameters as safetensors.
pub fn state<'py>(py: Python<'py>, backbone: &Backbone, params: &Parameters) -> PyResult<Bound<'py, PyDict>> {
    let mut tensors: Vec<(String, Array)> = params.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
    for (name, _) in params.changed().map_err(to_python)? {
        tensors.push((format!("{BASE}{name}"), params.base().get(name).map_err(to_python)?.clone()));
    }
    let bytes = super::guard::run(py, || {
        safetensors::serialize(tensors, None).map_err(|e| Error::Weights(format!("pickling: {e}")))
    })?;
    let files = PyDict::new(py);
    for (name, content) in &backbone.side_files.0 {
        files.set_item(name, PyBytes::new(py, content))?;
    }
    let config = serde_json::to_string(&backbone.config.raw)
        .map_err(|e| super::errors::to_python(Error::Value(e.to_string())))?;
    let dict = PyDict::new(py);
    dict.set_item("config", config)?;
    dict.set_item("files", files)?;
    dict.set_item("weights", PyBytes::new(py, &bytes))?;
    dict.set_item("source", &backbone.source)?;
    dict.set_item("report", load_report(py, &backbone.report)?)?;
    dict.set_item("format_version", FORMAT_VERSION)?;
    let adapters: Vec<&LowRank> = params.adapters().iter().map(|adapter| &**adapter).collect();
    let adapters = serde_json::to_string(&adapters).map_err(|e| to_python(Error::internal(e.to_string())))?;
    dict.set_item("adapters", adapters)?;
    Ok(dict)
}

/// Prefix of the names of tensors as they were before adapters were added.
const BASE: &str = "base:";

/// Format version of pickles. Version 1 did not store it; its tokenizers are read as they were then.
pub const FORMAT_VERSION: u64 = 2;

/// The contents of [`state`], read back.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct State {
    config: String,
    files: std::collections::BTreeMap<String, Vec<u8>>,
    weights: Vec<u8>,
    source: String,
    report: Report,
    #[pyo3(default)]
    format_version: u64,
    /// Absent from pickles of before there were adapters.
    #[pyo3(default)]
    adapters: String,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Report {
    loaded: usize,
    missing: Vec<String>,
    ignored: Vec<String>,
    converted: Vec<String>,
    /// Pickles of version 1 have neither `not_finite` nor `prefix`.
    #[pyo3(default)]
    not_finite: Vec<String>,
    #[pyo3(default)]
    prefix: String,
}

impl State {
    /// The backbone, and the parameters of the head of `task`.
    pub fn restore(self, task: &str) -> Result<(Backbone, Parameters)> {
        let unreadable = |e: &dyn std::fmt::Display| Error::Weights(format!("unpickling: {e}"));
        let stored = SafeTensors::deserialize(&self.weights).map_err(|e| unreadable(&e))?;
        let read = |(name, view)| Ok((name, Array::try_from(&view).map_err(|e| unreadable(&e))?));
        let arrays: Vec<(String, Array)> = stored.tensors().into_iter().map(read).collect::<Result<_>>()?;
        let Report { loaded, missing, ignored, converted, not_finite, prefix } = self.report;
        let report = LoadReport { loaded, missing, ignored, converted, not_finite, prefix };
        let mut files = SideFiles(self.files);
        if self.format_version < FORMAT_VERSION {
            files = files
                .of_version_1(Config::parse(&self.config)?.raw.get("model_type").and_then(|name| name.as_str()))?;
        }
        let mut config = Config::of_directory(&self.config, &files)?;
        if config.lacks_head(arrays.iter().map(|(name, _)| name.as_str())) {
            config = config.with_classifier_of_class()?;
        }
        let specs = Backbone::specs(&config);
        let adapters: Vec<LowRank> = match self.adapters.as_str() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|e| unreadable(&e))?,
        };
        let (mut own, mut head, mut added) = (Parameters::default(), Parameters::default(), Vec::new());
        for adapter in adapters {
            let specs = adapter.specs(&specs)?;
            added.push((Arc::new(adapter), specs, Parameters::default()));
        }
        let mut base = Vec::new();
        for (name, array) in arrays {
            if let Some(name) = name.strip_prefix(BASE) {
                base.push((name.to_string(), array));
                continue;
            }
            let of_adapter = |(_, specs, _): &&mut (_, Vec<Spec>, _)| specs.iter().any(|spec| spec.name == name);
            if let Some((_, specs, params)) = added.iter_mut().find(of_adapter) {
                specs
                    .iter()
                    .filter(|spec| spec.name == name)
                    .for_each(|s| params.insert(&name, &s.owner, array.clone()));
                continue;
            }
            match specs.iter().find(|spec| spec.name == name) {
                Some(spec) => own.insert(name, &spec.owner, array),
                None => head.insert(name, &Owner::head(task), array),
            }
        }
        for (adapter, _, params) in added {
            own.add(&adapter, &params)?;
        }
        for (name, array) in base {
            own.set_base(&name, array)?;
        }
        Ok((Backbone::assemble(config, own, files, report, self.source)?, head))
    }
}
