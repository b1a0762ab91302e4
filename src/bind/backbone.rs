//! `_core.Backbone`.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use super::convert;
use super::encodings::PyEncodings;
use super::errors::to_python;
use super::guard::run;
use super::monitor::PyProgress;
use super::options::{PyAdamW, PyStrategy};
use super::task::{PyTask, level};
use super::tokenizer::{PyTokenizer, TokenizerSource};
use crate::backbone::{Backbone, Config, Pooling, Vectors};
use crate::error::{Error, Result};
use crate::head::{Classification, Task, TaskModel};
use crate::matmul::Precision;
use crate::text::{Extender, SideFiles, Tokenizer};
use crate::train::Plan;

/// A pretrained transformer and its tokenizer.
#[pyclass(frozen, name = "Backbone", module = "warmstart._core")]
pub struct PyBackbone(pub Backbone);

/// The vectors to compute: hidden states of `layers`, pooled in each of the ways of `pooling`; without layers the
/// sentence vectors that the model directory defines.
fn vectors(layers: Option<Vec<usize>>, pooling: &[String]) -> Result<Vectors> {
    let Some(layers) = layers else { return Ok(Vectors::Sentence) };
    Ok(Vectors::Layers { layers, pooling: pooling.iter().map(|name| Pooling::parse(name)).collect::<Result<_>>()? })
}

/// Add the tokenizer's vocabulary size to a configuration without `vocab_size`.
fn with_vocabulary(config: String, files: &SideFiles) -> Result<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&config) else { return Ok(config) };
    if fields.contains_key("vocab_size") {
        return Ok(config);
    }
    let tokenizer = Tokenizer::from_files(files, fields.get("model_type").and_then(Value::as_str))?;
    fields.insert("vocab_size".into(), tokenizer.vocab_size().into());
    Ok(Value::Object(fields).to_string())
}

#[pymethods]
impl PyBackbone {
    #[staticmethod]
    fn from_pretrained(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        run(py, || Backbone::from_pretrained(&path)).map(Self)
    }

    /// A copy with the adapter in a directory of PEFT's on it.
    fn with_adapter(&self, py: Python<'_>, path: PathBuf, name: &str, any_base: bool) -> PyResult<Self> {
        run(py, || self.0.with_adapter(&path, name, any_base)).map(Self)
    }

    /// A copy with its adapters merged into the weights.
    fn merged(&self, py: Python<'_>) -> PyResult<Self> {
        run(py, || self.0.merged()).map(Self)
    }

    /// Names of the adapters.
    #[getter]
    fn adapters(&self) -> Vec<String> {
        self.0.params.adapters().iter().map(|adapter| adapter.name.clone()).collect()
    }

    #[staticmethod]
    fn from_config(py: Python<'_>, config: String, tokenizer: TokenizerSource, seed: u64) -> PyResult<Self> {
        run(py, || {
            let files = tokenizer.files()?;
            Backbone::from_config(Config::parse(&with_vocabulary(config, &files)?)?, files, seed)
        })
        .map(Self)
    }

    /// A backbone with more tokens: those in `batches`, or, with `n_tokens`, the best `n_tokens` words of the texts in
    /// `batches`.
    fn extend_vocabulary(&self, py: Python<'_>, batches: Bound<'_, PyAny>, n_tokens: Option<usize>) -> PyResult<Self> {
        let mut extender = Extender::new(&self.0.tokenizer);
        let mut tokens = Vec::new();
        for batch in batches.try_iter()? {
            let texts: Vec<String> = batch?.extract()?;
            match n_tokens {
                Some(_) => run(py, || extender.feed(&texts))?,
                None => tokens.extend(texts),
            }
        }
        run(py, || {
            let extension = match n_tokens {
                Some(n) => extender.choose(&self.0.side_files, n)?,
                None => extender.tokens(&self.0.side_files, &tokens)?,
            };
            self.0.extended(extension)
        })
        .map(Self)
    }

    #[getter]
    fn tokenizer(&self) -> PyTokenizer {
        PyTokenizer { tokenizer: self.0.tokenizer.clone(), files: self.0.side_files.clone() }
    }

    fn save_pretrained(&self, py: Python<'_>, path: PathBuf, max_shard_bytes: u64) -> PyResult<()> {
        run(py, || self.0.save_pretrained(&path, max_shard_bytes))
    }

    /// Encode texts in windows. For each word also returns the index of its text, int64 `[R]`, and its begin and end
    /// there in characters, `[R, 2]`.
    #[allow(clippy::type_complexity)]
    fn encode_windows<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
        max_length: Option<usize>,
    ) -> PyResult<(PyEncodings, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<i64>>)> {
        let windows = run(py, || self.0.encode_windows(&texts, max_length))?;
        let owners = PyArray1::from_iter(py, windows.texts.iter().map(|&text| i64::from(text)));
        let flat = windows.spans.iter().flat_map(|&(start, end)| [i64::from(start), i64::from(end)]);
        let spans = PyArray1::from_iter(py, flat).reshape([windows.spans.len(), 2])?;
        Ok((PyEncodings(Arc::new(windows.encodings)), owners, spans))
    }

    #[getter]
    fn family(&self) -> &'static str {
        self.0.config.family.name
    }

    #[getter]
    fn config(&self) -> PyResult<String> {
        serde_json::to_string(&self.0.config.raw).map_err(|e| to_python(Error::Value(e.to_string())))
    }

    #[getter]
    fn source(&self) -> &str {
        &self.0.source
    }

    #[getter]
    fn n_layers(&self) -> usize {
        self.0.config.num_hidden_layers
    }

    #[getter]
    fn n_heads(&self) -> usize {
        self.0.config.attention.heads
    }

    #[getter]
    fn hidden_size(&self) -> usize {
        self.0.config.hidden_size
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.config.vocab_size
    }

    #[getter]
    fn n_parameters(&self) -> usize {
        self.0.params.count()
    }

    #[getter]
    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    /// Maximum input length that the model has positions for.
    #[getter]
    fn max_positions(&self) -> usize {
        self.0.config.max_length
    }

    #[getter]
    fn max_length_source(&self) -> &'static str {
        self.0.limit().source
    }

    #[getter]
    fn default_pooling(&self) -> Vec<&'static str> {
        self.0.default_pooling().into_iter().map(Pooling::name).collect()
    }

    /// True if the model directory normalises its sentence vectors to length 1.
    #[getter]
    fn normalizes(&self) -> bool {
        self.0.config.sentence.as_ref().is_some_and(|modules| modules.normalize)
    }

    /// True if linear layers follow the pooling of sentence vectors.
    #[getter]
    fn has_dense(&self) -> bool {
        self.0.config.sentence.as_ref().is_some_and(|modules| !modules.dense.is_empty())
    }

    /// The prompt that is put before every text to make its sentence vector.
    #[getter]
    fn prompt(&self) -> PyResult<Option<String>> {
        self.0.prompt().map_err(to_python)
    }

    /// Size of the vector of these layers, each pooled in each of these ways; without layers that of a sentence vector.
    fn vector_size(&self, layers: Option<Vec<usize>>, pooling: Vec<String>) -> PyResult<usize> {
        Ok(self.0.vector_size(&vectors(layers, &pooling).map_err(to_python)?))
    }

    #[getter]
    fn is_causal(&self) -> bool {
        self.0.config.is_causal()
    }

    /// True if the model supports permutation language modelling: predicting tokens in any order.
    #[getter]
    fn is_permuting(&self) -> bool {
        self.0.config.capabilities.permutation
    }

    /// Warnings for whoever opens the model.
    fn notes(&self) -> Vec<String> {
        self.0.notes()
    }

    /// True if only the output layer of a new head is not pretrained.
    fn has_linear_head(&self, of_words: bool) -> bool {
        let task = Task::only(Classification::new(level(of_words), 1, false));
        TaskModel::untrained_below(&self.0, &task).is_none()
    }

    /// True if the output layer of a head has a bias.
    fn head_has_bias(&self, of_words: bool) -> bool {
        !self.0.config.head(level(of_words)).output_bias.is_empty()
    }

    /// Dropout probability before the output layer of a head.
    fn head_dropout(&self, of_words: bool) -> f64 {
        self.0.config.head(level(of_words)).last_dropout
    }

    /// The same backbone on which the head of a text classifier takes the vectors of these poolings, concatenated.
    fn with_classifier_pooling(&self, py: Python<'_>, pooling: Vec<String>) -> PyResult<Self> {
        run(py, || {
            let pooling = pooling.iter().map(|name| Pooling::parse(name)).collect::<Result<_>>()?;
            self.0.with_classifier_pooling(pooling)
        })
        .map(Self)
    }

    /// The same backbone whose byte-level tokenizer also puts a space before the first word.
    fn with_prefix_space(&self, py: Python<'_>) -> PyResult<Self> {
        run(py, || self.0.with_prefix_space()).map(Self)
    }

    fn load_report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::load_report(py, &self.0.report)
    }

    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = Backbone::specs(&self.0.config).into_iter().map(|spec| {
            let tensor = self.0.params.get(&spec.name).map_err(to_python)?;
            let row = PyDict::new(py);
            row.set_item("name", spec.name)?;
            row.set_item("shape", tensor.dims())?;
            row.set_item("parameters", tensor.elem_count())?;
            row.set_item("dtype", tensor.dtype().as_str())?;
            row.set_item("bytes", tensor.elem_count() * tensor.dtype().size_in_bytes())?;
            Ok(row)
        });
        rows.collect()
    }

    fn encode(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
        max_length: Option<usize>,
    ) -> PyResult<PyEncodings> {
        run(py, || self.0.encode(&texts, pairs.as_deref(), max_length))
            .map(|encodings| PyEncodings(Arc::new(encodings)))
    }

    #[allow(clippy::too_many_arguments)]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        encodings: &PyEncodings,
        layers: Option<Vec<usize>>,
        pooling: Vec<String>,
        normalize: bool,
        batch_tokens: usize,
        precision: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut progress = PyProgress::new(on_progress);
        let vectors = vectors(layers, &pooling).map_err(to_python)?;
        let values = run(py, || {
            let precision = Precision::parse(precision)?;
            let mut on_progress = |done| progress.report(done);
            self.0.embed(&encodings.0, &vectors, normalize, precision, batch_tokens, &mut on_progress)
        })?;
        convert::matrix(py, values, self.0.vector_size(&vectors))
    }

    fn explain<'py>(
        &self,
        py: Python<'py>,
        strategy: PyStrategy,
        optimizer: PyAdamW,
        task: &PyTask,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let plan = Plan::of_task((&strategy.0, &optimizer.0), &self.0, &task.0).map_err(to_python)?;
        let rows = plan.rows.into_iter().map(|p| {
            let row = PyDict::new(py);
            row.set_item("name", p.name)?;
            row.set_item("shape", p.shape)?;
            row.set_item("trainable", p.trainable)?;
            row.set_item("learning_rate", p.learning_rate)?;
            row.set_item("weight_decay", p.weight_decay)?;
            Ok(row)
        });
        rows.collect()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let restore = py.import("warmstart._core")?.getattr("_backbone_from_state")?;
        Ok((restore, (convert::state(py, &self.0, &self.0.params)?,)))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}

/// Undo the pickling of a `Backbone`.
#[pyfunction]
pub fn _backbone_from_state(py: Python<'_>, state: convert::State) -> PyResult<PyBackbone> {
    run(py, || state.restore("none")).map(|(backbone, _)| PyBackbone(backbone))
}
