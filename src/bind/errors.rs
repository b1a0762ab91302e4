//! Conversion of the crate's errors to Python exceptions.

use pyo3::PyTypeInfo;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};

use crate::error::Error;

create_exception!(warmstart, WarmstartError, PyException, "Base of the errors of warmstart.");

/// The subclasses of `WarmstartError`; each also derives from a built-in Python exception.
struct Kinds {
    weights: Py<PyType>,
    data: Py<PyType>,
    device: Py<PyType>,
    training: Py<PyType>,
}

static KINDS: PyOnceLock<Kinds> = PyOnceLock::new();

impl Kinds {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        KINDS.get_or_try_init(py, || {
            Ok(Self {
                weights: two_bases::<PyValueError>(py, "WeightsError", "A checkpoint's tensors do not fit.")?,
                data: two_bases::<PyValueError>(py, "DataError", "Texts, labels or a tokenizer do not fit.")?,
                device: two_bases::<PyRuntimeError>(
                    py,
                    "DeviceError",
                    "The machine or this build cannot do what was asked.",
                )?,
                training: two_bases::<PyRuntimeError>(py, "TrainingError", "A training run cannot go on.")?,
            })
        })
    }
}

/// Create `class name(WarmstartError, Base)`: PyO3's macro supports only one base class.
fn two_bases<Base: PyTypeInfo>(py: Python<'_>, name: &str, doc: &str) -> PyResult<Py<PyType>> {
    let bases = (py.get_type::<WarmstartError>(), py.get_type::<Base>());
    let members = [("__module__", "warmstart"), ("__doc__", doc)].into_py_dict(py)?;
    Ok(py.get_type::<PyType>().call1((name, bases, members))?.cast_into::<PyType>()?.unbind())
}

fn raised(kind: fn(&Kinds) -> &Py<PyType>, message: String) -> PyErr {
    Python::attach(|py| match Kinds::get(py) {
        Ok(kinds) => PyErr::from_type(kind(kinds).bind(py).clone(), message),
        Err(error) => error,
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let kinds = Kinds::get(py)?;
    module.add("WarmstartError", py.get_type::<WarmstartError>())?;
    module.add("WeightsError", &kinds.weights)?;
    module.add("DataError", &kinds.data)?;
    module.add("DeviceError", &kinds.device)?;
    module.add("TrainingError", &kinds.training)
}

/// The Python exception for an error.
pub fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Weights(_) => raised(|kinds| &kinds.weights, message),
        Error::Data(_) => raised(|kinds| &kinds.data, message),
        Error::Device(_) => raised(|kinds| &kinds.device, message),
        Error::Training(_) => raised(|kinds| &kinds.training, message),
        Error::Value(_) => PyValueError::new_err(message),
        Error::NotFound { .. } => PyFileNotFoundError::new_err(message),
        Error::Io { path, source } => os_error(&path, &source),
        Error::Stopped(cause) => match cause.downcast::<PyErr>() {
            Ok(error) => *error,
            Err(cause) => WarmstartError::new_err(cause.to_string()),
        },
        Error::Tensor(_) => WarmstartError::new_err(message),
    }
}

/// An `OSError` with errno, so that Python picks the subclass (PermissionError, NotADirectoryError, ...).
fn os_error(path: &std::path::Path, source: &std::io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(code) => PyOSError::new_err((code, source.to_string(), path.display().to_string())),
        None => PyOSError::new_err(format!("{}: {source}", path.display())),
    }
}
