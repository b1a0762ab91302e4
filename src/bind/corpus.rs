//! `_core.Corpus` and `_core.CorpusWriter`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::backbone::PyBackbone;
use super::guard::run;
use crate::corpus::{Corpus, CorpusWriter};

/// Tokens of documents in a mapped file.
#[pyclass(frozen, name = "Corpus", module = "warmstart._core")]
pub struct PyCorpus(pub Corpus);

#[pymethods]
impl PyCorpus {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        run(py, || Corpus::open(&path)).map(Self)
    }

    #[getter]
    fn n_documents(&self) -> usize {
        self.0.n_documents()
    }

    #[getter]
    fn n_tokens(&self) -> usize {
        self.0.n_tokens()
    }

    /// The first of the documents that are held out, if they are to hold about this part of the tokens.
    fn held_out(&self, py: Python<'_>, fraction: f64) -> PyResult<usize> {
        run(py, || self.0.split(fraction)).map(|(train, _)| train.end)
    }
}

/// Tokenises texts into the file of a corpus.
#[pyclass(frozen, name = "CorpusWriter", module = "warmstart._core")]
pub struct PyCorpusWriter(Mutex<Option<CorpusWriter>>);

impl PyCorpusWriter {
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut Option<CorpusWriter>) -> crate::error::Result<R> + Send,
    ) -> PyResult<R> {
        let writer = &self.0;
        run(py, || f(&mut writer.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl PyCorpusWriter {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, backbone: &PyBackbone) -> PyResult<Self> {
        let tokenizer = backbone.0.tokenizer.clone();
        run(py, || CorpusWriter::create(&path, tokenizer)).map(|writer| Self(Mutex::new(Some(writer))))
    }

    fn add(&self, py: Python<'_>, texts: Vec<String>, open: bool) -> PyResult<()> {
        self.with(py, |writer| writer.as_mut().map_or(Ok(None), |writer| writer.add(&texts, open).map(Some)))?
            .ok_or_else(finished)
    }

    fn finish(&self, py: Python<'_>) -> PyResult<PyCorpus> {
        self.with(py, |writer| writer.take().map(CorpusWriter::finish).transpose())?.map(PyCorpus).ok_or_else(finished)
    }
}

fn finished() -> PyErr {
    PyValueError::new_err("the corpus is finished already")
}
