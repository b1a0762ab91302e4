//! Pretraining of language models and replaced-token detectors.

use std::path::PathBuf;

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::backbone::PyBackbone;
use super::convert;
use super::corpus::PyCorpus;
use super::guard::run;
use super::language_model::{PyLanguageModel, PyReplacedDetector};
use super::monitor::PyMonitor;
use super::options::{PyObjective, PyTrainingOptions};
use crate::head::LanguageBatch;
use crate::train::{self, PretrainingOptions, estimate_pretraining};

#[derive(FromPyObject)]
pub enum Model<'py> {
    Language(PyRef<'py, PyLanguageModel>),
    Detector(PyRef<'py, PyReplacedDetector>),
}

/// A corpus and the range of documents to use: the first one and the one after the last.
type Documents<'py> = (PyRef<'py, PyCorpus>, usize, usize);

fn documents<'a>((corpus, from, to): &'a Documents) -> train::Documents<'a> {
    (&corpus.0, *from..*to)
}

fn options(options: &PyTrainingOptions, objective: PyObjective, max_length: usize) -> PretrainingOptions {
    PretrainingOptions { objective: objective.0, max_length, training: options.0.clone() }
}

/// Pretrain a model. Returns the trained model or None, a dict of facts, and the exception that stopped the run or
/// None.
#[pyfunction]
#[pyo3(signature = (model, train, eval, options, monitor, *, objective, max_length))]
#[allow(clippy::too_many_arguments)]
pub fn pretrain<'py>(
    py: Python<'py>,
    model: Model<'py>,
    train: Documents<'py>,
    eval: Option<Documents<'py>>,
    options: &PyTrainingOptions,
    monitor: Py<PyAny>,
    objective: PyObjective,
    max_length: usize,
) -> PyResult<Bound<'py, PyTuple>> {
    let (train, eval) = (documents(&train), eval.as_ref().map(documents));
    let options = self::options(options, objective, max_length);
    let mut monitor = PyMonitor::new(monitor, 1);
    match model {
        Model::Language(model) => {
            let model = &model.0;
            let outcome = run(py, || train::pretrain(model, train, eval, &options, &mut monitor))?;
            convert::outcome(py, outcome, PyLanguageModel)
        }
        Model::Detector(model) => {
            let model = &model.0;
            let outcome = run(py, || train::pretrain(model, train, eval, &options, &mut monitor))?;
            convert::outcome(py, outcome, PyReplacedDetector)
        }
    }
}

/// Seed of the run whose checkpoint is in `directory`; None without a checkpoint that can be resumed.
#[pyfunction]
pub fn checkpoint_seed(py: Python<'_>, directory: PathBuf) -> PyResult<Option<u64>> {
    run(py, || Ok(train::checkpoint_seed(&directory)))
}

/// Peak memory of [`pretrain`] in bytes, by use.
#[pyfunction]
#[pyo3(signature = (model, train, eval, options, *, objective, max_length))]
pub fn pretraining_memory<'py>(
    py: Python<'py>,
    model: Model<'py>,
    train: Documents<'py>,
    eval: Option<Documents<'py>>,
    options: &PyTrainingOptions,
    objective: PyObjective,
    max_length: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let (train, eval) = (documents(&train), eval.as_ref().map(documents));
    let options = self::options(options, objective, max_length);
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

/// The batches of [`pretrain`] with these options: one list per optimiser step, or a single list of evaluation batches.
#[pyfunction]
#[pyo3(signature = (backbone, train, options, evaluation, *, objective, max_length))]
pub fn pretraining_batches<'py>(
    py: Python<'py>,
    backbone: &PyBackbone,
    train: Documents<'py>,
    options: &PyTrainingOptions,
    evaluation: bool,
    objective: PyObjective,
    max_length: usize,
) -> PyResult<Vec<Vec<Bound<'py, PyDict>>>> {
    let (train, options) = (documents(&train), self::options(options, objective, max_length));
    let steps = run(py, || train::pretraining_batches(&backbone.0, train, &options, evaluation))?;
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
