//! `_core.Tokenizer` and `_core.TokenizerTrainer`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::encodings::PyEncodings;
use super::errors::to_python;
use super::guard::run;
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::text::{GENERATION_CONFIG, SideFiles, Tokenizer, TokenizerTrainer, side_files_in};

/// Side files that are the model's alone.
const OF_THE_MODEL: [&str; 2] = ["1_Pooling/config.json", GENERATION_CONFIG];

/// A tokenizer, and the files it is saved as.
#[pyclass(frozen, name = "Tokenizer", module = "warmstart._core")]
pub struct PyTokenizer {
    pub tokenizer: Arc<Tokenizer>,
    pub files: Arc<SideFiles>,
}

impl PyTokenizer {
    /// The files, with a `tokenizer.json` made where there is none.
    fn complete(&self) -> Result<SideFiles> {
        let mut files = SideFiles::clone(&self.files);
        files.0.retain(|name, _| !OF_THE_MODEL.contains(&name.as_str()));
        if !files.0.contains_key("tokenizer.json") {
            files.0.insert("tokenizer.json".into(), self.tokenizer.to_json()?.into_bytes());
        }
        Ok(files)
    }
}

#[pymethods]
impl PyTokenizer {
    #[getter]
    fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
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
                Ok(side_files_in(dir)?.into_iter().filter(|name| !OF_THE_MODEL.contains(&name.as_str())).collect())
            })
        })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let files = PyDict::new(py);
        for (name, content) in &self.complete().map_err(to_python)?.0 {
            files.set_item(name, PyBytes::new(py, content))?;
        }
        Ok((py.import("warmstart._core")?.getattr("_tokenizer_from_files")?, (files,)))
    }
}

/// Undo the pickling of a `Tokenizer`.
#[pyfunction]
pub fn _tokenizer_from_files(
    py: Python<'_>,
    files: std::collections::BTreeMap<String, Vec<u8>>,
) -> PyResult<PyTokenizer> {
    run(py, || {
        let files = SideFiles(files);
        Ok(PyTokenizer { tokenizer: Arc::new(Tokenizer::from_files(&files, None)?), files: Arc::new(files) })
    })
}

/// Where a backbone's tokenizer comes from.
#[derive(FromPyObject)]
pub enum TokenizerSource {
    Tokenizer(Py<PyTokenizer>),
    Directory(PathBuf),
}

impl TokenizerSource {
    pub fn files(self) -> Result<SideFiles> {
        match self {
            Self::Tokenizer(tokenizer) => tokenizer.get().complete(),
            Self::Directory(path) if path.is_dir() => {
                let mut files = SideFiles::read(&path)?;
                files.0.remove(GENERATION_CONFIG);
                Ok(files)
            }
            Self::Directory(path) => {
                Err(Error::NotFound { path, hint: "; expected a directory with a tokenizer".into() })
            }
        }
    }
}

/// Counts words, then makes a tokenizer.
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
