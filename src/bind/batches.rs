//! `_core.pretraining_batches`.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::backbone::PyBackbone;
use super::corpus::PyCorpus;
use super::errors::to_python;
use super::guard::run;
use crate::error::Error;
use crate::head::LanguageBatch;
use crate::train::{PretrainOptions, batches_to_evaluate, training_batches};

/// What `pretrain` with these options sees: the batches of each optimiser step, or one step with those of an evaluation.
#[pyfunction]
pub fn pretraining_batches<'py>(
    py: Python<'py>,
    backbone: &PyBackbone,
    documents: (PyRef<'py, PyCorpus>, usize, usize),
    options: &str,
    evaluation: bool,
) -> PyResult<Vec<Vec<Bound<'py, PyDict>>>> {
    let options: PretrainOptions =
        serde_json::from_str(options).map_err(|e| to_python(Error::Value(format!("options: {e}"))))?;
    let (corpus, range) = (&documents.0.0, documents.1..documents.2);
    let steps = run(py, || {
        if evaluation {
            return Ok(vec![batches_to_evaluate(&backbone.0, (corpus, range), &options)?]);
        }
        training_batches(&backbone.0, (corpus, range), &options)
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
