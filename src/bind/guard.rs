//! The one way from Python into the crate: the GIL is released, errors are converted, a panic becomes an exception.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::errors::{WarmstartError, to_python};
use crate::compute::release;
use crate::error::Result;

/// Run `f` without the GIL, then return freed memory to the system.
pub fn run<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| {
        let result = caught(f);
        release();
        result
    })
}

fn caught<T>(f: impl FnOnce() -> Result<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(to_python),
        Err(panic) => {
            let what =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(WarmstartError::new_err(format!("internal error, please report it: {}", what.unwrap_or("unknown"))))
        }
    }
}
