//! `_core.TaskModel`.

use std::path::PathBuf;

use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::backbone::PyBackbone;
use super::convert;
use super::encodings::PyEncodings;
use super::guard::run;
use super::monitor::{PyMonitor, PyProgress};
use super::options::PyTrainingOptions;
use super::task::{PyTask, level};
use crate::backbone::Level;
use crate::head::{Classification, LinearMap, Published, Start, TargetKind, Task, TaskModel};
use crate::matmul::Precision;
use crate::train::{Dataset, TaskOptions, estimate_fit, fit};

/// A backbone with the head of a task.
#[pyclass(frozen, name = "TaskModel", module = "warmstart._core")]
pub struct PyTaskModel(TaskModel);

fn linear_map((weight, bias): (PyReadonlyArray2<'_, f32>, PyReadonlyArray1<'_, f32>)) -> LinearMap {
    LinearMap { weight: weight.as_array().iter().copied().collect(), bias: bias.as_array().iter().copied().collect() }
}

/// A model, the names of its outputs, whether they are integers, and a note for the user.
type PublishedModel = (PyTaskModel, Vec<String>, bool, Option<String>);

#[pymethods]
impl PyTaskModel {
    /// Names of the poolings whose vectors of a text or word the head takes, concatenated.
    #[getter]
    fn pooling(&self) -> Vec<&'static str> {
        self.0.options().pooling.iter().map(|pooling| pooling.name()).collect()
    }

    /// Train on texts with a class each, int64 `[N]`, or a number for each output, float32 `[N, C]`, and optionally a
    /// weight for each text, float32 `[n_texts]`. For word-level tasks, `N` is the number of words of all texts.
    #[staticmethod]
    #[pyo3(signature = (
        backbone, task, train, targets, eval, eval_targets, options, monitor, *, sample_weight = None, start = None,
        head = None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn fit<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        task: &PyTask,
        train: &PyEncodings,
        targets: &Bound<'py, PyAny>,
        eval: Option<&PyEncodings>,
        eval_targets: Option<&Bound<'py, PyAny>>,
        options: &PyTrainingOptions,
        monitor: Py<PyAny>,
        sample_weight: Option<PyReadonlyArray1<'py, f32>>,
        start: Option<(PyReadonlyArray2<'py, f32>, PyReadonlyArray1<'py, f32>)>,
        head: Option<&Self>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let start = start.map(linear_map);
        let start = match (head, &start) {
            (Some(model), _) => Start::Head(&model.0.head),
            (None, Some(last)) => Start::LastMap(last),
            (None, None) => Start::New,
        };
        let sample_weight = sample_weight.map(|weights| weights.as_array().to_vec());
        let options = TaskOptions { task: task.0.clone(), training: options.0.clone() };
        let train = Dataset { encodings: &train.0, truth: task.truth(targets, train)?, sample_weight };
        let eval = match (eval, eval_targets) {
            (Some(eval), Some(targets)) => {
                Some(Dataset { encodings: &eval.0, truth: task.truth(targets, eval)?, sample_weight: None })
            }
            (None, None) => None,
            _ => return Err(PyTypeError::new_err("eval and eval_targets go together")),
        };
        let mut monitor = PyMonitor::new(monitor, task.0.head.n_outputs());
        let outcome = run(py, || fit(&backbone.0, &train, eval.as_ref(), &options, start, &mut monitor))?;
        convert::outcome(py, outcome, Self)
    }

    /// Inputs of a new head's output layer, float32 `[N, D]`.
    #[staticmethod]
    fn features<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        task: &PyTask,
        encodings: &PyEncodings,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut progress = PyProgress::new(on_progress);
        let (values, columns) = run(py, || {
            let precision = Precision::parse(precision)?;
            let report = &mut |done| progress.report(done);
            TaskModel::features(&backbone.0, &task.0, &encodings.0, batch_tokens, precision, report)
        })?;
        convert::matrix(py, values, columns)
    }

    /// A model with a new head whose output layer is this one, float32 `[C, D]` and `[C]`.
    #[staticmethod]
    fn with_last_map(
        py: Python<'_>,
        backbone: &PyBackbone,
        task: &PyTask,
        weight: PyReadonlyArray2<'_, f32>,
        bias: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Self> {
        let last = linear_map((weight, bias));
        run(py, || {
            let params = TaskModel::initial(&backbone.0, &task.0, Start::LastMap(&last), 0)?;
            Ok(Self(TaskModel::new(&backbone.0, &params, task.0.clone())))
        })
    }

    #[staticmethod]
    fn estimate_memory<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        task: &PyTask,
        train: &PyEncodings,
        eval: Option<&PyEncodings>,
        options: &PyTrainingOptions,
    ) -> PyResult<Bound<'py, PyDict>> {
        let options = TaskOptions { task: task.0.clone(), training: options.0.clone() };
        let eval = eval.map(|eval| eval.0.lengths());
        let memory = run(py, || estimate_fit(&backbone.0, &train.0.lengths(), eval.as_deref(), &options))?;
        convert::memory(py, &memory)
    }

    /// Outputs of the head, float32 `[N, C]`.
    fn outputs<'py>(
        &self,
        py: Python<'py>,
        encodings: &PyEncodings,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut progress = PyProgress::new(on_progress);
        let columns = self.0.n_outputs();
        let values = run(py, || {
            let precision = Precision::parse(precision)?;
            self.0.outputs(&encodings.0, batch_tokens, precision, &mut |done| progress.report(done))
        })?;
        convert::matrix(py, values, columns)
    }

    #[getter]
    fn backbone(&self) -> PyBackbone {
        PyBackbone(self.0.backbone.clone())
    }

    #[getter]
    fn n_outputs(&self) -> usize {
        self.0.n_outputs()
    }

    #[getter]
    fn n_parameters(&self) -> usize {
        self.0.params().count()
    }

    fn save(
        &self,
        py: Python<'_>,
        path: PathBuf,
        names: Vec<String>,
        metadata: &str,
        max_shard_bytes: u64,
    ) -> PyResult<()> {
        run(py, || self.0.save(&path, &names, metadata, max_shard_bytes))
    }

    /// Open a published model with its head.
    #[staticmethod]
    fn from_pretrained(py: Python<'_>, path: PathBuf, kind: &str) -> PyResult<PublishedModel> {
        let opened = run(py, || TaskModel::from_pretrained(&path, TargetKind::parse(kind)?))?;
        let Published { model, labels } = opened;
        Ok((Self(model), labels.names, labels.are_numbers, labels.note))
    }

    /// Open the adapter in a directory of PEFT's, with the head that it brings, on a backbone.
    #[staticmethod]
    fn from_adapter(
        py: Python<'_>,
        backbone: &PyBackbone,
        path: PathBuf,
        kind: &str,
        any_base: bool,
    ) -> PyResult<(PublishedModel, Option<usize>)> {
        let (opened, max_length) =
            run(py, || TaskModel::from_adapter(&backbone.0, &path, TargetKind::parse(kind)?, any_base))?;
        let Published { model, labels } = opened;
        Ok(((Self(model), labels.names, labels.are_numbers, labels.note), max_length))
    }

    /// Write the adapter and the head as PEFT does; `names` are the labels of the outputs.
    fn save_adapter(
        &self,
        py: Python<'_>,
        path: PathBuf,
        names: Vec<String>,
        are_numbers: bool,
        max_length: Option<usize>,
    ) -> PyResult<()> {
        run(py, || self.0.save_adapter(&path, &names, are_numbers, max_length))
    }

    /// The same model with its adapters merged into the weights.
    fn merged(&self, py: Python<'_>) -> PyResult<Self> {
        run(py, || self.0.merged()).map(Self)
    }

    /// Kind of targets of the head: "classes", "indicators", "tags" or "numbers".
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.task.head.learns_from().name()
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(Self, String)> {
        run(py, || TaskModel::load(&path)).map(|(model, metadata)| (Self(model), metadata))
    }

    /// The same model with each output multiplied by `scale` and then shifted by `shift`, float32 `[C]` each.
    fn with_outputs_scaled(
        &self,
        py: Python<'_>,
        scale: PyReadonlyArray1<'_, f32>,
        shift: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Self> {
        let (scale, shift) = (scale.as_array().to_vec(), shift.as_array().to_vec());
        run(py, || self.0.with_outputs_scaled(&scale, &shift)).map(Self)
    }

    /// True if the outputs are of words, not of texts.
    #[getter]
    fn of_words(&self) -> bool {
        self.0.task.head.level() == Level::Words
    }

    /// The same model with another task, which must have as many outputs and the same layers.
    fn with_task(&self, task: &PyTask) -> Self {
        Self(TaskModel { task: task.0.clone(), ..self.0.clone() })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let restore = py.import("warmstart._core")?.getattr("_task_model_from_state")?;
        let state = convert::state(py, &self.0.backbone, &self.0.params())?;
        (restore, (state, PyTask(self.0.task.clone()))).into_pyobject(py)
    }
}

/// Undo the pickling of a `TaskModel`.
#[pyfunction]
pub fn _task_model_from_state(py: Python<'_>, state: convert::State, task: &PyTask) -> PyResult<PyTaskModel> {
    let task = task.0.clone();
    let (backbone, head) = run(py, || state.restore(&task.name))?;
    Ok(PyTaskModel(TaskModel { backbone, head, task }))
}

/// Undo the pickling of a `Classifier` of version 0.2, which did not distinguish multi-label from single-label models.
#[pyfunction]
pub fn _classifier_from_state(py: Python<'_>, state: convert::State, of_words: bool) -> PyResult<PyTaskModel> {
    run(py, || {
        let level = level(of_words);
        let (backbone, head) = state.restore(level.name())?;
        let n_outputs = head.get(&format!("{}.weight", backbone.config.head(level).output))?.dims2()?.0;
        Ok(PyTaskModel(TaskModel { backbone, head, task: Task::only(Classification::new(level, n_outputs, false)) }))
    })
}
