//! `_core.LanguageModel`.

use std::path::PathBuf;

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::backbone::PyBackbone;
use super::convert;
use super::encodings::PyEncodings;
use super::errors::to_python;
use super::guard::run;
use super::monitor::{PyProgress, PyStream};
use crate::error::Error;
use crate::head::{Generation, LanguageModel, ReplacedDetector, generate};
use crate::matmul::Precision;
use crate::objective::{fill_masks, token_scores};
use crate::text::GENERATION_CONFIG;

/// A backbone with a language-modelling head.
#[pyclass(frozen, name = "LanguageModel", module = "warmstart._core")]
pub struct PyLanguageModel(pub LanguageModel);

#[pymethods]
impl PyLanguageModel {
    #[new]
    fn new(py: Python<'_>, backbone: &PyBackbone, seed: u64) -> PyResult<Self> {
        run(py, || LanguageModel::new(&backbone.0, seed)).map(Self)
    }

    #[staticmethod]
    fn from_pretrained(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        run(py, || LanguageModel::from_pretrained(&path)).map(Self)
    }

    /// Log probabilities of each text's tokens; NaN where they are undefined.
    fn token_scores<'py>(
        &self,
        py: Python<'py>,
        encodings: &PyEncodings,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyArray1<f32>>>> {
        let mut progress = PyProgress::new(on_progress);
        let scores = run(py, || {
            let precision = Precision::parse(precision)?;
            token_scores(&self.0, &encodings.0, batch_tokens, precision, &mut |done| progress.report(done))
        })?;
        let array = |scores: Vec<Option<f32>>| {
            PyArray1::from_vec(py, scores.into_iter().map(|score| score.unwrap_or(f32::NAN)).collect())
        };
        Ok(scores.into_iter().map(array).collect())
    }

    /// The likeliest tokens for each mask of a text: ids and probabilities.
    fn fill_masks(
        &self,
        py: Python<'_>,
        encodings: &PyEncodings,
        text: usize,
        top: usize,
        precision: &str,
    ) -> PyResult<Vec<Vec<(u32, f32)>>> {
        run(py, || fill_masks(&self.0, &encodings.0, text, top, Precision::parse(precision)?))
    }

    /// The continuation of each prompt. `on_text` gets the index of a prompt and its new text, piece by piece.
    fn generate(
        &self,
        py: Python<'_>,
        prompts: Vec<String>,
        options: &str,
        on_text: Option<Py<PyAny>>,
    ) -> PyResult<Vec<String>> {
        let options: Generation =
            serde_json::from_str(options).map_err(|e| to_python(Error::Value(format!("options: {e}"))))?;
        let mut stream = PyStream(on_text);
        run(py, || generate(&self.0, &prompts, &options, &mut |prompt, text| stream.hand_on(prompt, text)))
    }

    /// Name and contents of the file with the generation settings: `generation_config.json`, else `config.json`.
    #[getter]
    fn generation_config(&self, py: Python<'_>) -> PyResult<(&'static str, String)> {
        run(py, || match self.0.backbone.side_files.json(GENERATION_CONFIG)? {
            None => Ok(("config.json", serde_json::Value::Object(self.0.backbone.config.raw.clone()).to_string())),
            Some(config) if config.is_object() => Ok((GENERATION_CONFIG, config.to_string())),
            Some(_) => Err(Error::Data(format!("{GENERATION_CONFIG}: expected a JSON object"))),
        })
    }

    #[getter]
    fn backbone(&self) -> PyBackbone {
        PyBackbone(self.0.backbone.clone())
    }

    /// Names of the head's own parameters, which the backbone does not have.
    #[getter]
    fn head_parameters(&self) -> Vec<String> {
        self.0.head.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[getter]
    fn n_parameters(&self) -> usize {
        self.0.params().count()
    }

    fn save(&self, py: Python<'_>, path: PathBuf, metadata: &str, max_shard_bytes: u64) -> PyResult<()> {
        run(py, || self.0.save(&path, metadata, max_shard_bytes))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(Self, String)> {
        run(py, || LanguageModel::load(&path)).map(|(model, metadata)| (Self(model), metadata))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let restore = py.import("warmstart._core")?.getattr("_language_model_from_state")?;
        Ok((restore, (convert::state(py, &self.0.backbone, &self.0.params())?,)))
    }
}

/// Undo the pickling of a `LanguageModel`.
#[pyfunction]
pub fn _language_model_from_state(py: Python<'_>, state: convert::State) -> PyResult<PyLanguageModel> {
    let (backbone, head) = run(py, || state.restore(LanguageModel::TASK))?;
    Ok(PyLanguageModel(LanguageModel::of(backbone, head)))
}

/// A discriminator with its generator (ELECTRA), which detects the tokens that the generator replaced.
#[pyclass(frozen, name = "ReplacedDetector", module = "warmstart._core")]
pub struct PyReplacedDetector(pub ReplacedDetector);

#[pymethods]
impl PyReplacedDetector {
    #[new]
    fn new(py: Python<'_>, backbone: &PyBackbone, generator: &PyBackbone, seed: u64) -> PyResult<Self> {
        run(py, || ReplacedDetector::new(&backbone.0, &generator.0, seed)).map(Self)
    }

    #[getter]
    fn backbone(&self) -> PyBackbone {
        PyBackbone(self.0.backbone.clone())
    }

    #[getter]
    fn generator(&self) -> PyLanguageModel {
        PyLanguageModel(self.0.generator.clone())
    }

    #[getter]
    fn n_parameters(&self) -> usize {
        self.0.params().count()
    }

    fn save(&self, py: Python<'_>, path: PathBuf, metadata: &str, max_shard_bytes: u64) -> PyResult<()> {
        run(py, || self.0.save(&path, metadata, max_shard_bytes))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(Self, String)> {
        run(py, || ReplacedDetector::load(&path)).map(|(model, metadata)| (Self(model), metadata))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, DetectorState<'py>)> {
        let restore = py.import("warmstart._core")?.getattr("_replaced_detector_from_state")?;
        let ReplacedDetector { backbone, head, generator } = &self.0;
        Ok((restore, (convert::state(py, backbone, &backbone.params.with(head))?, PyLanguageModel(generator.clone()))))
    }
}

/// State of the detector with its head, and its generator.
type DetectorState<'py> = (Bound<'py, PyDict>, PyLanguageModel);

/// Undo the pickling of a `ReplacedDetector`.
#[pyfunction]
pub fn _replaced_detector_from_state(
    py: Python<'_>,
    state: convert::State,
    generator: &PyLanguageModel,
) -> PyResult<PyReplacedDetector> {
    let (backbone, head) = run(py, || state.restore(ReplacedDetector::TASK))?;
    Ok(PyReplacedDetector(ReplacedDetector { backbone, head, generator: generator.0.clone() }))
}
