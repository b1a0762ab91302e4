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
use crate::backbone::Task;
use crate::error::Error;
use crate::head::{Classifier, LinearMap};
use crate::objective::Labels;
use crate::product::Precision;
use crate::train::{Dataset, FitOptions, estimate, fit};

/// A backbone with a classification head.
#[pyclass(frozen, name = "Classifier", module = "warmstart._core")]
pub struct PyClassifier(Classifier);

/// Class indices int64 `[N]`, or for multi-label indicators float32 `[N, C]`.
fn labels(targets: &Bound<'_, PyAny>, options: &FitOptions) -> PyResult<Labels> {
    if options.multi_label {
        let array: PyReadonlyArray2<'_, f32> =
            targets.extract().map_err(|_| PyTypeError::new_err("targets: expected float32 [N, C]"))?;
        let array = array.as_array();
        if array.ncols() != options.n_outputs {
            return Err(PyValueError::new_err(format!(
                "targets: got {} columns for {} outputs",
                array.ncols(),
                options.n_outputs
            )));
        }
        return Ok(Labels::Indicators(array.iter().copied().collect()));
    }
    let array: PyReadonlyArray1<'_, i64> =
        targets.extract().map_err(|_| PyTypeError::new_err("targets: expected int64 [N]"))?;
    let index =
        |&y: &i64| u32::try_from(y).map_err(|_| PyValueError::new_err(format!("targets: {y} is not a class index")));
    array.as_array().iter().map(index).collect::<PyResult<_>>().map(Labels::Classes)
}

fn linear_map((weight, bias): (PyReadonlyArray2<'_, f32>, PyReadonlyArray1<'_, f32>)) -> LinearMap {
    LinearMap { weight: weight.as_array().iter().copied().collect(), bias: bias.as_array().iter().copied().collect() }
}

fn parse_options(json: &str) -> PyResult<FitOptions> {
    serde_json::from_str(json).map_err(|e| to_python(Error::Value(format!("options: {e}"))))
}

#[pymethods]
impl PyClassifier {
    /// Which vectors of a text, or of its words, the head takes, side by side.
    #[getter]
    fn pooling(&self) -> Vec<&'static str> {
        self.0.options().pooling.iter().map(|pooling| pooling.name()).collect()
    }

    #[staticmethod]
    #[pyo3(signature = (backbone, train, targets, eval, eval_targets, options, monitor, start=None))]
    #[allow(clippy::too_many_arguments)]
    fn fit<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        train: &PyEncodings,
        targets: &Bound<'py, PyAny>,
        eval: Option<&PyEncodings>,
        eval_targets: Option<&Bound<'py, PyAny>>,
        options: &str,
        monitor: Py<PyAny>,
        start: Option<(PyReadonlyArray2<'py, f32>, PyReadonlyArray1<'py, f32>)>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options = parse_options(options)?;
        let start = start.map(linear_map);
        let train = Dataset { encodings: &train.0, labels: labels(targets, &options)? };
        let eval = match (eval, eval_targets) {
            (Some(eval), Some(targets)) => Some(Dataset { encodings: &eval.0, labels: labels(targets, &options)? }),
            (None, None) => None,
            _ => return Err(PyTypeError::new_err("eval and eval_targets go together")),
        };
        let mut monitor = PyMonitor::new(monitor, options.n_outputs);
        let outcome = run(py, || fit(&backbone.0, &train, eval.as_ref(), &options, start.as_ref(), &mut monitor))?;
        let model = outcome.model.map(|model| Py::new(py, Self(model))).transpose()?;
        let stopped = outcome.stopped.map(|error| to_python(error).into_value(py));
        (model, convert::summary(py, &outcome.summary, &outcome.facts)?, stopped).into_pyobject(py)
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
        let task = if encodings.0.has_words() { Task::Words } else { Task::Texts };
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
            let params = Classifier::initial(&backbone.0, task, last.bias.len(), Some(&last), 0)?;
            Ok(Self(Classifier::new(&backbone.0, &params, task)))
        })
    }

    #[staticmethod]
    fn estimate_memory<'py>(
        py: Python<'py>,
        backbone: &PyBackbone,
        train: &PyEncodings,
        eval: Option<&PyEncodings>,
        options: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let options = parse_options(options)?;
        let eval = eval.map(|eval| eval.0.lengths());
        let memory = run(py, || estimate(&backbone.0, &train.0.lengths(), eval.as_deref(), &options))?;
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
    let (backbone, head) = run(py, || state.restore())?;
    Ok(PyClassifier(Classifier { backbone, head, task: if of_words { Task::Words } else { Task::Texts } }))
}
