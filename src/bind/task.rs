//! `_core.Task`: a training task, checked when it is made.

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::encodings::PyEncodings;
use super::errors::to_python;
use crate::backbone::Level;
use crate::error::{Error, Result};
use crate::head::{Classification, Head, Regression, TargetKind, Task, Truth};
use crate::ops::regression_loss::Penalty;

/// The level of a task: words if `of_words`, else texts.
pub fn level(of_words: bool) -> Level {
    if of_words { Level::Words } else { Level::Texts }
}

/// A named head with its loss.
#[pyclass(frozen, name = "Task", module = "warmstart._core")]
pub struct PyTask(pub Task);

impl PyTask {
    fn checked(head: impl Head + 'static) -> PyResult<Self> {
        head.check().map_err(to_python)?;
        Ok(Self(Task::only(head)))
    }

    /// The targets of texts or of their words: class indices int64 `[N]`, or float32 `[N, C]`.
    pub fn truth(&self, targets: &Bound<'_, PyAny>, encodings: &PyEncodings) -> PyResult<Truth> {
        let (head, encodings) = (&*self.0.head, &encodings.0);
        let rows = || -> PyResult<Vec<f32>> {
            let array: PyReadonlyArray2<'_, f32> =
                targets.extract().map_err(|_| PyTypeError::new_err("targets: expected float32 [N, C]"))?;
            let (array, n_outputs) = (array.as_array(), head.n_outputs());
            if array.ncols() != n_outputs {
                let message = format!("targets: got {} columns for {n_outputs} outputs", array.ncols());
                return Err(PyValueError::new_err(message));
            }
            Ok(array.iter().copied().collect())
        };
        let classes = || -> PyResult<Vec<u32>> {
            let array: PyReadonlyArray1<'_, i64> =
                targets.extract().map_err(|_| PyTypeError::new_err("targets: expected int64 [N]"))?;
            let index = |&y: &i64| {
                u32::try_from(y).map_err(|_| PyValueError::new_err(format!("targets: {y} is not a class index")))
            };
            array.as_array().iter().map(index).collect()
        };
        Ok(match head.learns_from() {
            TargetKind::Classes => Truth::Classes(classes()?),
            TargetKind::Indicators => Truth::Indicators(rows()?),
            TargetKind::Numbers => Truth::Numbers(rows()?),
            TargetKind::Tags => {
                let of_text = |text: usize| std::iter::repeat_n(text as u32, encodings.items(text).len());
                Truth::Tags { classes: classes()?, texts: (0..encodings.len()).flat_map(of_text).collect() }
            }
            TargetKind::Tokens => return Err(PyTypeError::new_err("targets: tokens are learnt from a corpus")),
        })
    }
}

#[pymethods]
impl PyTask {
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (&'static str, usize))> {
        let restore = py.import("warmstart._core")?.getattr("_task_from_state")?;
        Ok((restore, (self.0.head.learns_from().name(), self.0.head.n_outputs())))
    }

    /// Decode outputs float32 `[N, C]` to predictions: class indices int64 `[N]`, 0 or 1 int64 `[N, C]`, or numbers
    /// float32 `[N, C]`.
    fn decode<'py>(&self, py: Python<'py>, outputs: PyReadonlyArray2<'py, f32>) -> PyResult<Bound<'py, PyAny>> {
        let (head, columns) = (&*self.0.head, outputs.as_array().ncols());
        if columns != head.n_outputs() {
            let message = format!("outputs: got {columns} columns for {} outputs", head.n_outputs());
            return Err(PyValueError::new_err(message));
        }
        let values: Vec<f32> = outputs.as_array().iter().copied().collect();
        let rows = outputs.as_array().nrows();
        let indices = |values: Vec<i64>| PyArray1::from_vec(py, values);
        Ok(match head.decode(&values) {
            Truth::Classes(classes) | Truth::Tags { classes, .. } => {
                indices(classes.into_iter().map(i64::from).collect()).into_any()
            }
            Truth::Indicators(values) => indices(values.into_iter().map(|value| i64::from(value > 0.0)).collect())
                .reshape([rows, columns])?
                .into_any(),
            Truth::Numbers(values) => PyArray1::from_vec(py, values).reshape([rows, columns])?.into_any(),
            Truth::Tokens(_) => return Err(PyTypeError::new_err("tokens are read by a language model")),
        })
    }

    /// A classification task for texts or for their words.
    #[staticmethod]
    #[pyo3(signature = (n_outputs, *, of_words = false, multi_label = false, class_weight = None, label_smoothing = 0.0))]
    fn classification(
        n_outputs: usize,
        of_words: bool,
        multi_label: bool,
        class_weight: Option<Vec<f32>>,
        label_smoothing: f64,
    ) -> PyResult<Self> {
        let level = level(of_words);
        Self::checked(Classification { level, n_outputs, multi_label, class_weight, label_smoothing })
    }

    /// A regression task for texts.
    #[staticmethod]
    #[pyo3(signature = (n_outputs, *, loss = "mse", delta = None, quantile = None))]
    fn regression(n_outputs: usize, loss: &str, delta: Option<Vec<f32>>, quantile: Option<f32>) -> PyResult<Self> {
        Self::checked(Regression::new(penalties(loss, n_outputs, delta, quantile).map_err(to_python)?))
    }
}

/// The penalty of residuals for each of `n` outputs.
fn penalties(loss: &str, n: usize, delta: Option<Vec<f32>>, quantile: Option<f32>) -> Result<Vec<Penalty>> {
    match (loss, delta, quantile) {
        ("mse", None, None) => Ok(vec![Penalty::Squared; n]),
        ("huber", Some(delta), None) if delta.len() == n => {
            Ok(delta.into_iter().map(|delta| Penalty::Huber { delta }).collect())
        }
        ("pinball", None, Some(quantile)) => Ok(vec![Penalty::Pinball { quantile }; n]),
        (loss, delta, quantile) => Err(Error::Value(format!(
            "loss={loss:?}, delta={delta:?}, quantile={quantile:?}: expected \"mse\" alone, \"huber\" with {n} deltas or \
             \"pinball\" with a quantile"
        ))),
    }
}

/// Undo the pickling of a `Task`, which leaves out the settings of the loss.
#[pyfunction]
pub fn _task_from_state(kind: &str, n_outputs: usize) -> PyResult<PyTask> {
    let kind = TargetKind::parse(kind).map_err(to_python)?;
    Task::of_outputs(kind, n_outputs).map(PyTask).map_err(to_python)
}
