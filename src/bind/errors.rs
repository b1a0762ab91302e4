//! Every error of the crate as a Python exception.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

create_exception!(warmstart, WarmstartError, PyException, "Base of the errors of warmstart.");
create_exception!(warmstart, WeightsError, WarmstartError, "A checkpoint's tensors do not fit.");
create_exception!(warmstart, DataError, WarmstartError, "Texts, labels or a tokenizer do not fit.");
create_exception!(warmstart, DeviceError, WarmstartError, "The machine or this build cannot do what was asked.");
create_exception!(warmstart, TrainingError, WarmstartError, "A training run cannot go on.");

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("WarmstartError", py.get_type::<WarmstartError>())?;
    module.add("WeightsError", py.get_type::<WeightsError>())?;
    module.add("DataError", py.get_type::<DataError>())?;
    module.add("DeviceError", py.get_type::<DeviceError>())?;
    module.add("TrainingError", py.get_type::<TrainingError>())
}

/// The exception for an error.
pub fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Weights(_) => WeightsError::new_err(message),
        Error::Data(_) => DataError::new_err(message),
        Error::Device(_) => DeviceError::new_err(message),
        Error::Training(_) => TrainingError::new_err(message),
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

/// With errno, so that Python picks the subclass (PermissionError, NotADirectoryError, ...).
fn os_error(path: &std::path::Path, source: &std::io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(code) => PyOSError::new_err((code, source.to_string(), path.display().to_string())),
        None => PyOSError::new_err(format!("{}: {source}", path.display())),
    }
}
