//! `_core.Classifier`.

use std::path::PathBuf;

use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::backbone::PyBackbone;
use super::convert;
use super::encodings::PyEncodings;
use super::errors::to_python;
use super::guard::run;
use super::monitor::{PyMonitor, PyProgress};
use super::options::PyTrainingOptions;
use crate::backbone::Task;
use crate::head::{Classifier, LinearMap, Published, Start};
use crate::objective::{Classification, Labels};
use crate::product::Precision;
use crate::train::{ClassifierOptions, Dataset, estimate_fit, fit};

/// A backbone with a classification head.
#[pyclass(frozen, name = "Classifier", module = "warmstart._core")]
pub struct PyClassifier(Classifier);

/// Class indices int64 `[N]`, or for multi-label indicators float32 `[N, C]`.
fn labels(targets: &Bound<'_, PyAny>, n_outputs: usize) -> PyResult<Labels> {
    if let Ok(array) = targets.extract::<PyReadonlyArray2<'_, f32>>() {
        let array = array.as_array();
        if array.ncols() != n_outputs {
            let message = format!("targets: got {} columns for {n_outputs} outputs", array.ncols());
            return Err(PyValueError::new_err(message));
        }
        return Ok(Labels::Indicators(array.iter().copied().collect()));
    }
    let array: PyReadonlyArray1<'_, i64> =
        targets.extract().map_err(|_| PyTypeError::new_err("targets: expected int64 [N] or float32 [N, C]"))?;
    let index =
        |&y: &i64| u32::try_from(y).map_err(|_| PyValueError::new_err(format!("targets: {y} is not a class index")));
    array.as_array().iter().map(index).collect::<PyResult<_>>().map(Labels::Classes)
}

/// Texts, or their words.
fn task(encodings: &PyEncodings) -> Task {
    if encodings.0.has_words() { Task::Words } else { Task::Texts }
}

fn linear_map((weight, bias): (PyReadonlyArray2<'_, f32>, PyReadonlyArray1<'_, f32>)) -> LinearMap {
    LinearMap { weight: weight.as_array().iter().copied().collect(), bias: bias.as_array().iter().copied().collect() }
}

/// A model, the names of its outputs, whether they are numbers, whether there may be several at once, and what to tell of them.
type PublishedClassifier = (PyClassifier, Vec<String>, bool, bool, Option<String>);

#[pymethods]
impl PyClassifier {
    /// Which vectors of a text, or of its words, the head takes, side by side.
    #[getter]
    fn pooling(&self) -> Vec<&'static str> {
        self.0.options().pooling.iter().map(|pooling| pooling.name()).collect()
    }

    /// Train on texts of which each has a class, int64 `[N]`, or several, float32 `[N, C]`, and perhaps a weight, float32
    /// `[N]`; of words there are as many as the texts have.
    #[staticmethod]
    #[pyo3(signature = (
        backbone, train, targets, eval, eval_targets, options, monitor, *, n_outputs, class_weight = None,
        label_smoothing = 0.0, sample_weight = None, start = None, head = None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn fit<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        train: &PyEncodings,
        targets: &Bound<'py, PyAny>,
        eval: Option<&PyEncodings>,
        eval_targets: Option<&Bound<'py, PyAny>>,
        options: &PyTrainingOptions,
        monitor: Py<PyAny>,
        n_outputs: usize,
        class_weight: Option<Vec<f32>>,
        label_smoothing: f64,
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
        let options = ClassifierOptions {
            task: task(train),
            objective: Classification { n_outputs, class_weight, label_smoothing },
            training: options.0.clone(),
        };
        let train = Dataset { encodings: &train.0, labels: labels(targets, n_outputs)?, sample_weight };
        let eval = match (eval, eval_targets) {
            (Some(eval), Some(targets)) => {
                Some(Dataset { encodings: &eval.0, labels: labels(targets, n_outputs)?, sample_weight: None })
            }
            (None, None) => None,
            _ => return Err(PyTypeError::new_err("eval and eval_targets go together")),
        };
        let mut monitor = PyMonitor::new(monitor, n_outputs);
        let outcome = run(py, || fit(&backbone.0, &train, eval.as_ref(), &options, start, &mut monitor))?;
        convert::outcome(py, outcome, Self)
    }

    /// What the last map of a new head takes, float32 `[N, D]`.
    #[staticmethod]
    fn features<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        encodings: &PyEncodings,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut progress = PyProgress::new(on_progress);
        let task = task(encodings);
        let (values, columns) = run(py, || {
            let precision = Precision::parse(precision)?;
            let report = &mut |done| progress.report(done);
            Classifier::features(&backbone.0, task, &encodings.0, batch_tokens, precision, report)
        })?;
        convert::matrix(py, values, columns)
    }

    /// An untrained head with this last map, float32 `[C, D]` and `[C]`.
    #[staticmethod]
    fn with_last_map(
        py: Python<'_>,
        backbone: &PyBackbone,
        of_words: bool,
        weight: PyReadonlyArray2<'_, f32>,
        bias: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Self> {
        let task = if of_words { Task::Words } else { Task::Texts };
        let last = linear_map((weight, bias));
        run(py, || {
            let params = Classifier::initial(&backbone.0, task, last.bias.len(), Start::LastMap(&last), 0)?;
            Ok(Self(Classifier::new(&backbone.0, &params, task)))
        })
    }

    #[staticmethod]
    fn estimate_memory<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        train: &PyEncodings,
        eval: Option<&PyEncodings>,
        options: &PyTrainingOptions,
        n_outputs: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let objective = Classification { n_outputs, class_weight: None, label_smoothing: 0.0 };
        let options = ClassifierOptions { task: task(train), objective, training: options.0.clone() };
        let eval = eval.map(|eval| eval.0.lengths());
        let memory = run(py, || estimate_fit(&backbone.0, &train.0.lengths(), eval.as_deref(), &options))?;
        convert::memory(py, &memory)
    }

    fn logits<'py>(
        &self,
        py: Python<'py>,
        encodings: &PyEncodings,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut progress = PyProgress::new(on_progress);
        let columns = self.n_outputs()?;
        let values = run(py, || {
            let precision = Precision::parse(precision)?;
            self.0.logits(&encodings.0, batch_tokens, precision, &mut |done| progress.report(done))
        })?;
        convert::matrix(py, values, columns)
    }

    #[getter]
    fn backbone(&self) -> PyBackbone {
        PyBackbone(self.0.backbone.clone())
    }

    #[getter]
    fn n_outputs(&self) -> PyResult<usize> {
        self.0.n_outputs().map_err(to_python)
    }

    #[getter]
    fn n_parameters(&self) -> usize {
        self.0.params().count()
    }

    fn save(
        &self,
        py: Python<'_>,
        path: PathBuf,
        labels: Vec<String>,
        multi_label: bool,
        metadata: &str,
        max_shard_bytes: u64,
    ) -> PyResult<()> {
        run(py, || self.0.save(&path, &labels, multi_label, metadata, max_shard_bytes))
    }

    /// A published model with its head.
    #[staticmethod]
    fn from_pretrained(py: Python<'_>, path: PathBuf, of_words: bool) -> PyResult<PublishedClassifier> {
        let task = if of_words { Task::Words } else { Task::Texts };
        let Published { model, labels } = run(py, || Classifier::from_pretrained(&path, task))?;
        Ok((Self(model), labels.names, labels.are_numbers, labels.multi_label, labels.note))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(Self, String)> {
        run(py, || Classifier::load(&path)).map(|(model, metadata)| (Self(model), metadata))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let restore = py.import("warmstart._core")?.getattr("_classifier_from_state")?;
        let state = convert::state(py, &self.0.backbone, &self.0.params())?;
        (restore, (state, self.0.task == Task::Words)).into_pyobject(py)
    }
}

/// Undo the pickling of a `Classifier`.
#[pyfunction]
pub fn _classifier_from_state(py: Python<'_>, state: convert::State, of_words: bool) -> PyResult<PyClassifier> {
    let task = if of_words { Task::Words } else { Task::Texts };
    let (backbone, head) = run(py, || state.restore(task.name()))?;
    Ok(PyClassifier(Classifier { backbone, head, task }))
}
