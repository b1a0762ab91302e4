//! `_core.Corpus` and `_core.CorpusWriter`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::PyArray1;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use super::guard::run;
use super::monitor::PyProgress;
use super::tokenizer::PyTokenizer;
use crate::corpus::{Corpus, CorpusWriter, OnError, TextFile, token};
use crate::error::{Error, Result};

/// A corpus of tokenised documents in a memory-mapped file.
#[pyclass(frozen, name = "Corpus", module = "warmstart._core")]
pub struct PyCorpus(pub Corpus);

impl PyCorpus {
    fn document(&self, index: usize) -> PyResult<&[u32]> {
        if index < self.0.n_documents() {
            return Ok(self.0.document(index));
        }
        Err(PyIndexError::new_err(format!("document {index} of {}", self.0.n_documents())))
    }
}

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

    /// Index of the first held-out document, if the held-out documents are to hold about `fraction` of the tokens.
    fn held_out(&self, py: Python<'_>, fraction: f64) -> PyResult<usize> {
        run(py, || self.0.split(fraction)).map(|(train, _)| train.end)
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn ids<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray1<i64>>> {
        Ok(PyArray1::from_iter(py, self.document(index)?.iter().map(|&stored| i64::from(token(stored).0))))
    }

    fn continues<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray1<bool>>> {
        Ok(PyArray1::from_iter(py, self.document(index)?.iter().map(|&stored| token(stored).1)))
    }
}

/// Tokenises documents and writes them to a corpus file.
#[pyclass(frozen, name = "CorpusWriter", module = "warmstart._core")]
pub struct PyCorpusWriter(Mutex<Option<CorpusWriter>>);

impl PyCorpusWriter {
    fn with<T>(&self, f: impl FnOnce(&mut CorpusWriter) -> Result<T>) -> Result<T> {
        f(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or_else(closed)?)
    }

    fn take(&self) -> Option<CorpusWriter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl PyCorpusWriter {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf, tokenizer: &PyTokenizer) -> PyResult<Self> {
        let tokenizer = tokenizer.tokenizer.clone();
        run(py, || CorpusWriter::create(&directory, tokenizer)).map(|writer| Self(Mutex::new(Some(writer))))
    }

    fn add(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<()> {
        run(py, || self.with(|writer| writer.add(&texts)))
    }

    fn add_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        field: Option<String>,
        skip: bool,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<(usize, Option<String>)> {
        let file = TextFile { path, field, on_error: if skip { OnError::Skip } else { OnError::Stop } };
        let mut progress = PyProgress::new(on_progress);
        let skipped = run(py, || self.with(|writer| file.add_to(writer, |bytes| progress.report(bytes as usize))))?;
        Ok((skipped.count, skipped.first))
    }

    fn finish(&self, py: Python<'_>, name: &str) -> PyResult<PyCorpus> {
        run(py, || self.take().ok_or_else(closed)?.finish(name)).map(PyCorpus)
    }

    fn close(&self) {
        drop(self.take());
    }
}

fn closed() -> Error {
    Error::Value("this corpus is finished or closed; begin a new one".into())
}
