//! `_core.Tokenizer` and `_core.TokenizerTrainer`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::convert;
use super::encodings::PyEncodings;
use super::errors::to_python;
use super::guard::run;
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::text::{SideFiles, Tokenizer, TokenizerTrainer, side_files_in};

/// The function that unpickles a tokenizer, and its arguments: the files, and the version of their format.
type Pickled<'py> = (Bound<'py, PyAny>, (Bound<'py, PyDict>, u64));

/// A tokenizer and its files.
#[pyclass(frozen, name = "Tokenizer", module = "warmstart._core")]
pub struct PyTokenizer {
    pub tokenizer: Arc<Tokenizer>,
    pub files: Arc<SideFiles>,
}

impl PyTokenizer {
    /// The tokenizer's own files, as `save` writes them.
    fn complete(&self) -> Result<SideFiles> {
        self.tokenizer.files_among(&self.files)
    }
}

#[pymethods]
impl PyTokenizer {
    #[getter]
    fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    #[getter]
    fn unknown_id(&self) -> Option<u32> {
        self.tokenizer.unknown_id()
    }

    fn encode(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
        max_length: Option<usize>,
    ) -> PyResult<PyEncodings> {
        let max_length = max_length.unwrap_or(usize::MAX);
        run(py, || self.tokenizer.encode(&texts, pairs.as_deref(), max_length))
            .map(|encodings| PyEncodings(Arc::new(encodings)))
    }

    fn decode(&self, py: Python<'_>, ids: Vec<Vec<u32>>, skip_special_tokens: bool) -> PyResult<Vec<String>> {
        run(py, || self.tokenizer.decode(&ids, skip_special_tokens))
    }

    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        run(py, || self.tokenizer.to_json())
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        run(py, || {
            let mut staged = Staged::begin(&path)?;
            for (name, bytes) in &self.complete()?.0 {
                staged.write(name, bytes)?;
            }
            staged.commit(|dir| {
                // Files about a model's vectors and texts stay in the directory.
                let all = side_files_in(dir)?.into_iter().map(|name| (name, Vec::new())).collect();
                Ok(SideFiles(all).without_model().0.into_keys().collect())
            })
        })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py>> {
        let files = PyDict::new(py);
        for (name, content) in &self.complete().map_err(to_python)?.0 {
            files.set_item(name, PyBytes::new(py, content))?;
        }
        Ok((py.import("warmstart._core")?.getattr("_tokenizer_from_files")?, (files, convert::FORMAT_VERSION)))
    }
}

/// Undo the pickling of a `Tokenizer`; version 1 did not store its format version.
#[pyfunction]
#[pyo3(signature = (files, format_version = 1))]
pub fn _tokenizer_from_files(
    py: Python<'_>,
    files: std::collections::BTreeMap<String, Vec<u8>>,
    format_version: u64,
) -> PyResult<PyTokenizer> {
    run(py, || {
        let files = SideFiles(files);
        let files = if format_version < convert::FORMAT_VERSION { files.of_version_1(None)? } else { files };
        Ok(PyTokenizer { tokenizer: Arc::new(Tokenizer::from_files(&files, None)?), files: Arc::new(files) })
    })
}

/// The source of a backbone's tokenizer.
#[derive(FromPyObject)]
pub enum TokenizerSource {
    Tokenizer(Py<PyTokenizer>),
    Directory(PathBuf),
}

impl TokenizerSource {
    pub fn files(self) -> Result<SideFiles> {
        match self {
            Self::Tokenizer(tokenizer) => tokenizer.get().complete(),
            Self::Directory(path) if path.is_dir() => SideFiles::read(&path),
            Self::Directory(path) => {
                Err(Error::NotFound { path, hint: "; expected a directory with a tokenizer".into() })
            }
        }
    }
}

/// Counts words, then trains a tokenizer.
#[pyclass(frozen, name = "TokenizerTrainer", module = "warmstart._core")]
pub struct PyTokenizerTrainer(Mutex<Option<TokenizerTrainer>>);

#[pymethods]
impl PyTokenizerTrainer {
    #[new]
    fn new(
        kind: &str,
        family: Option<&str>,
        vocab_size: usize,
        min_frequency: u64,
        lowercase: Option<bool>,
    ) -> PyResult<Self> {
        let trainer = TokenizerTrainer::new(kind, family, vocab_size, min_frequency, lowercase).map_err(to_python)?;
        Ok(Self(Mutex::new(Some(trainer))))
    }

    fn feed(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<()> {
        run(py, || match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(trainer) => trainer.feed(&texts),
            None => Err(spent()),
        })
    }

    fn train(&self, py: Python<'_>) -> PyResult<PyTokenizer> {
        run(py, || {
            let trainer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(spent)?;
            let (tokenizer, files) = trainer.train()?;
            Ok(PyTokenizer { tokenizer: Arc::new(tokenizer), files: Arc::new(files) })
        })
    }
}

fn spent() -> Error {
    Error::Value("this trainer has made its tokenizer; begin with a new one".into())
}
