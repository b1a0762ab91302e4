//! `_core.Encodings`.

use std::sync::Arc;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::text::Encodings;

/// Tokenised texts.
#[pyclass(frozen, name = "Encodings", module = "warmstart._core")]
pub struct PyEncodings(pub Arc<Encodings>);

impl PyEncodings {
    fn check(&self, index: usize) -> PyResult<usize> {
        if index < self.0.len() {
            return Ok(index);
        }
        Err(PyIndexError::new_err(format!("text {index} of {}", self.0.len())))
    }
}

#[pymethods]
impl PyEncodings {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn n_tokens(&self) -> usize {
        self.0.n_tokens()
    }

    #[getter]
    fn n_empty(&self) -> usize {
        self.0.n_empty()
    }

    #[getter]
    fn n_truncated(&self) -> usize {
        self.0.n_truncated()
    }

    #[getter]
    fn n_unknown(&self) -> usize {
        self.0.n_unknown()
    }

    /// The selected texts, and the indices of their items (texts or words), int64.
    fn select<'py>(&self, py: Python<'py>, texts: Vec<usize>) -> PyResult<(Self, Bound<'py, PyArray1<i64>>)> {
        let texts = texts.into_iter().map(|text| self.check(text)).collect::<PyResult<Vec<_>>>()?;
        let items = texts.iter().flat_map(|&text| self.0.items(text)).map(|item| item as i64);
        Ok((Self(Arc::new(self.0.select(&texts))), PyArray1::from_iter(py, items)))
    }

    #[getter]
    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    #[getter]
    fn max_length_source(&self) -> &'static str {
        self.0.max_length_source()
    }

    /// Number of items of each text, int64 `[n_texts]`: its words if they are known, else 1.
    fn item_counts<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, (0..self.0.len()).map(|text| self.0.items(text).len() as i64))
    }

    fn lengths<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.lengths().into_iter().map(|n| n as i64))
    }

    fn ids<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let index = self.check(index)?;
        Ok(PyArray1::from_iter(py, self.0.ids(index).iter().map(|&id| i64::from(id))))
    }

    fn segments<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let index = self.check(index)?;
        Ok(PyArray1::from_iter(py, self.0.segments(index).iter().map(|&s| i64::from(s))))
    }

    fn offsets<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let offsets = self.0.offsets(self.check(index)?);
        let flat = offsets.iter().flat_map(|&(a, b)| [i64::from(a), i64::from(b)]);
        PyArray1::from_iter(py, flat).reshape([offsets.len(), 2])
    }
}
