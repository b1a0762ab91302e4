//! `_core.Strategy`, `_core.AdamW`, `_core.TrainingOptions` and `_core.Objective`: training options, each checked when
//! it is made.

use std::path::PathBuf;

use pyo3::prelude::*;

use super::errors::to_python;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::objective::{LanguageObjective, Unit};
use crate::optim::{OptimizerOptions, ScheduleKind};
use crate::train::{Keep, Strategy, TrainingOptions};

/// The value of `name` among `choices`, or an error that lists all choices.
fn one_of<T: Clone>(what: &str, name: &str, choices: &[(&str, T)]) -> Result<T> {
    let found = choices.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let names = || choices.iter().map(|(known, _)| format!("{known:?}")).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| Error::Value(format!("{what}={name:?}: expected one of {}", names())))
}

/// Which parameters are trained, and their relative learning rates.
#[pyclass(frozen, name = "Strategy", module = "warmstart._core", from_py_object)]
#[derive(Clone)]
pub struct PyStrategy(pub Strategy);

#[pymethods]
impl PyStrategy {
    /// The parts as JSON: a list of `{"method": {NAME: {SETTING: ...}}, "factor": ...}`.
    #[new]
    fn new(parts: &str) -> PyResult<Self> {
        let read = |text| serde_json::from_str::<Strategy>(text).map_err(|e| Error::Value(format!("strategy: {e}")));
        let strategy = read(parts).map_err(to_python)?;
        strategy.check().map_err(to_python)?;
        Ok(Self(strategy))
    }
}

/// The optimiser and its learning-rate schedule.
#[pyclass(frozen, name = "AdamW", module = "warmstart._core", from_py_object)]
#[derive(Clone)]
pub struct PyAdamW(pub OptimizerOptions);

#[pymethods]
impl PyAdamW {
    #[new]
    #[pyo3(signature = (
        *, learning_rate, weight_decay, beta1, beta2, epsilon, schedule, warmup_ratio, max_grad_norm
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        learning_rate: f64,
        weight_decay: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        schedule: &str,
        warmup_ratio: f64,
        max_grad_norm: Option<f64>,
    ) -> PyResult<Self> {
        let schedules =
            [("linear", ScheduleKind::Linear), ("cosine", ScheduleKind::Cosine), ("constant", ScheduleKind::Constant)];
        let schedule = one_of("optimizer: schedule", schedule, &schedules).map_err(to_python)?;
        let options = OptimizerOptions {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
            schedule,
            warmup_ratio,
            max_grad_norm,
        };
        options.check().map_err(to_python)?;
        Ok(Self(options))
    }
}

/// Options that every training run has.
#[pyclass(frozen, name = "TrainingOptions", module = "warmstart._core")]
pub struct PyTrainingOptions(pub TrainingOptions);

#[pymethods]
impl PyTrainingOptions {
    #[new]
    #[pyo3(signature = (
        *, strategy, optimizer, epochs, max_steps, batch_tokens, accumulation_steps, eval_every, patience, keep, seed,
        precision, recompute, checkpoint_dir, checkpoint_every
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        strategy: PyStrategy,
        optimizer: PyAdamW,
        epochs: usize,
        max_steps: Option<usize>,
        batch_tokens: usize,
        accumulation_steps: usize,
        eval_every: Option<usize>,
        patience: Option<usize>,
        keep: &str,
        seed: u64,
        precision: &str,
        recompute: bool,
        checkpoint_dir: Option<PathBuf>,
        checkpoint_every: Option<usize>,
    ) -> PyResult<Self> {
        let keep = one_of("keep", keep, &[("best", Keep::Best), ("last", Keep::Last)]).map_err(to_python)?;
        let options = TrainingOptions {
            strategy: strategy.0,
            optimizer: optimizer.0,
            epochs,
            max_steps,
            batch_tokens,
            accumulation_steps,
            eval_every,
            patience,
            keep,
            seed,
            precision: Precision::parse(precision).map_err(to_python)?,
            recompute,
            checkpoint_dir,
            checkpoint_every,
        };
        options.check().map_err(to_python)?;
        Ok(Self(options))
    }
}

/// The training objective of a language model.
#[pyclass(frozen, name = "Objective", module = "warmstart._core", from_py_object)]
#[derive(Clone)]
pub struct PyObjective(pub LanguageObjective);

#[pymethods]
impl PyObjective {
    #[staticmethod]
    #[pyo3(signature = (*, stream))]
    fn causal(stream: bool) -> Self {
        Self(LanguageObjective::Causal { stream })
    }

    #[staticmethod]
    #[pyo3(signature = (*, rate, unit))]
    fn masked(rate: f64, unit: &str) -> PyResult<Self> {
        let units = [("token", Unit::Token), ("word", Unit::Word), ("span", Unit::Span)];
        let unit = one_of("unit", unit, &units).map_err(to_python)?;
        Ok(Self(LanguageObjective::Masked { rate, unit }))
    }

    #[staticmethod]
    #[pyo3(signature = (*, rate, weight))]
    fn replaced(rate: f64, weight: f64) -> Self {
        Self(LanguageObjective::Replaced { rate, weight })
    }

    #[staticmethod]
    #[pyo3(signature = (*, memory))]
    fn permutation(memory: Option<usize>) -> Self {
        Self(LanguageObjective::Permutation { memory })
    }
}
