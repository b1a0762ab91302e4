//! Pretraining, of whatever can be pretrained.

use numpy::PyArray1;
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;
use pyo3::types::{PyDict, PyTuple};

use super::backbone::PyBackbone;
use super::convert;
use super::corpus::PyCorpus;
use super::errors::to_python;
use super::guard::run;
use super::language_model::{PyLanguageModel, PyReplacedDetector};
use super::monitor::PyMonitor;
use crate::error::{Error, Result};
use crate::head::LanguageBatch;
use crate::train::{self, Learner, PretrainOptions, batches_to_evaluate, estimate_pretraining, training_batches};

#[derive(FromPyObject)]
pub enum Model<'py> {
    Language(PyRef<'py, PyLanguageModel>),
    Detector(PyRef<'py, PyReplacedDetector>),
}

/// A corpus, the first of its documents, and the one behind the last.
type Documents<'py> = (PyRef<'py, PyCorpus>, usize, usize);

fn documents<'a>((corpus, from, to): &'a Documents) -> train::Documents<'a> {
    (&corpus.0, *from..*to)
}

fn parse(options: &str) -> PyResult<PretrainOptions> {
    serde_json::from_str(options).map_err(|e| to_python(Error::Value(format!("options: {e}"))))
}

/// Train a model; it, or none, facts, and what stopped the run.
#[pyfunction]
pub fn pretrain<'py>(
    py: Python<'py>,
    model: Model<'py>,
    train: Documents<'py>,
    eval: Option<Documents<'py>>,
    options: &str,
    monitor: Py<PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let (train, eval, options) = (documents(&train), eval.as_ref().map(documents), parse(options)?);
    let monitor = PyMonitor::new(monitor, 1);
    match model {
        Model::Language(model) => pretrained(py, &model.0, PyLanguageModel, train, eval, &options, monitor),
        Model::Detector(model) => pretrained(py, &model.0, PyReplacedDetector, train, eval, &options, monitor),
    }
}

fn pretrained<'py, M: Learner, P>(
    py: Python<'py>,
    model: &M,
    wrap: fn(M) -> P,
    train: train::Documents,
    eval: Option<train::Documents>,
    options: &PretrainOptions,
    mut monitor: PyMonitor,
) -> PyResult<Bound<'py, PyTuple>>
where
    P: PyClass + Into<PyClassInitializer<P>>,
{
    let outcome = run(py, || train::pretrain(model, train, eval, options, &mut monitor))?;
    let model = outcome.model.map(|model| Py::new(py, wrap(model))).transpose()?;
    let stopped = outcome.stopped.map(|error| to_python(error).into_value(py));
    let facts = convert::summary(py, &outcome.summary, &outcome.facts)?;
    facts.set_item("was_finished", outcome.was_finished)?;
    (model, facts, stopped).into_pyobject(py)
}

/// What [`pretrain`] takes at its peak, in bytes.
#[pyfunction]
pub fn pretraining_memory<'py>(
    py: Python<'py>,
    model: Model<'py>,
    train: Documents<'py>,
    eval: Option<Documents<'py>>,
    options: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let (train, eval, options) = (documents(&train), eval.as_ref().map(documents), parse(options)?);
    let memory = match model {
        Model::Language(model) => {
            let model = &model.0;
            run(py, || estimate_pretraining(model, train, eval, &options))
        }
        Model::Detector(model) => {
            let model = &model.0;
            run(py, || estimate_pretraining(model, train, eval, &options))
        }
    };
    convert::memory(py, &memory?)
}

/// What [`pretrain`] with these options sees: the batches of each optimiser step, or one step with those of an evaluation.
#[pyfunction]
pub fn pretraining_batches<'py>(
    py: Python<'py>,
    backbone: &PyBackbone,
    train: Documents<'py>,
    options: &str,
    evaluation: bool,
) -> PyResult<Vec<Vec<Bound<'py, PyDict>>>> {
    let (train, options) = (documents(&train), parse(options)?);
    let steps = run(py, || -> Result<_> {
        if evaluation {
            return Ok(vec![batches_to_evaluate(&backbone.0, train, &options)?]);
        }
        training_batches(&backbone.0, train, &options)
    })?;
    steps.iter().map(|batches| batches.iter().map(|batch| arrays(py, batch)).collect()).collect()
}

fn arrays<'py>(py: Python<'py>, batch: &LanguageBatch) -> PyResult<Bound<'py, PyDict>> {
    let integers = |values: &[u32]| PyArray1::from_iter(py, values.iter().map(|&value| i64::from(value)));
    let (packed, dict) = (&batch.packed, PyDict::new(py));
    dict.set_item("ids", integers(&packed.ids))?;
    dict.set_item("segments", integers(&packed.segments))?;
    dict.set_item("cu_seqlens", integers(&packed.cu_seqlens))?;
    let labels = batch.labels.iter().map(|label| label.map_or(-100, i64::from));
    dict.set_item("labels", PyArray1::from_iter(py, labels))?;
    if let Some(prediction) = &batch.context.prediction {
        dict.set_item("targets", integers(&prediction.positions))?;
        dict.set_item("cu_targets", integers(&prediction.cu_seqlens))?;
        dict.set_item("hidden", PyArray1::from_slice(py, &prediction.hidden))?;
    } else {
        let all: Vec<u32> = (0..packed.n_tokens() as u32).collect();
        dict.set_item("rows", integers(batch.rows.as_deref().unwrap_or(&all)))?;
    }
    Ok(dict)
}
