//! Callbacks into Python: progress, evaluation, and the checks for Ctrl-C.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::convert;
use crate::error::{Error, Result};
use crate::report::{Facts, Record};
use crate::train::Monitor;

/// Minimum time between two progress reports.
const INTERVAL: Duration = Duration::from_millis(100);

fn stopped(error: PyErr) -> Error {
    Error::Stopped(Box::new(error))
}

/// Limits reports to ten per second.
struct Throttle(Option<Instant>);

impl Throttle {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= INTERVAL);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// A Python callable that is given the number of tokens done.
pub struct PyProgress {
    callback: Option<Py<PyAny>>,
    throttle: Throttle,
}

impl PyProgress {
    pub fn new(callback: Option<Py<PyAny>>) -> Self {
        Self { callback, throttle: Throttle(None) }
    }

    /// Check for Ctrl-C, and report progress if a report is due.
    pub fn report(&mut self, done: usize) -> Result<()> {
        Python::attach(|py| {
            py.check_signals()?;
            match &self.callback {
                Some(callback) if self.throttle.is_due() => callback.call1(py, (done,)).map(drop),
                _ => Ok(()),
            }
        })
        .map_err(stopped)
    }
}

/// A Python callable that is given pieces of generated texts.
pub struct PyStream(pub Option<Py<PyAny>>);

impl PyStream {
    /// Check for Ctrl-C, and pass on the new piece of text `index`.
    pub fn hand_on(&mut self, index: usize, text: &str) -> Result<()> {
        Python::attach(|py| {
            py.check_signals()?;
            match &self.0 {
                Some(callback) if !text.is_empty() => callback.call1(py, (index, text)).map(drop),
                _ => Ok(()),
            }
        })
        .map_err(stopped)
    }
}

/// A Python object with the methods of `_core.Monitor`.
pub struct PyMonitor {
    object: Py<PyAny>,
    n_outputs: usize,
    throttle: Throttle,
}

impl PyMonitor {
    pub fn new(object: Py<PyAny>, n_outputs: usize) -> Self {
        Self { object, n_outputs, throttle: Throttle(None) }
    }
}

impl Monitor for PyMonitor {
    fn metric(&self) -> Result<String> {
        Python::attach(|py| self.object.getattr(py, "metric")?.extract(py)).map_err(stopped)
    }

    fn on_start(&mut self, facts: &Facts) -> Result<()> {
        Python::attach(|py| self.object.call_method1(py, "on_start", (convert::facts(py, facts)?,)).map(drop))
            .map_err(stopped)
    }

    fn on_step(&mut self, record: &Record) -> Result<()> {
        let due = self.throttle.is_due();
        Python::attach(|py| {
            py.check_signals()?;
            if due {
                self.object.call_method1(py, "on_step", (convert::record(py, record)?,))?;
            }
            Ok(())
        })
        .map_err(stopped)
    }

    fn on_wait(&mut self) -> Result<()> {
        // Clippy's shorter form does not compile: the method's lifetime is not general enough.
        #[allow(clippy::redundant_closure_for_method_calls)]
        Python::attach(|py| py.check_signals()).map_err(stopped)
    }

    fn on_evaluate(&mut self, logits: &[f32], record: &Record, eval_loss: f64) -> Result<f64> {
        Python::attach(|py| {
            let dict = convert::record(py, record)?;
            dict.set_item("eval_loss", eval_loss)?;
            let logits = convert::matrix(py, logits.to_vec(), self.n_outputs)?;
            self.object.call_method1(py, "on_evaluate", (logits, dict))?.extract(py)
        })
        .map_err(stopped)
    }

    fn on_epoch(&mut self, record: &Record) -> Result<()> {
        Python::attach(|py| self.object.call_method1(py, "on_epoch", (convert::record(py, record)?,)).map(drop))
            .map_err(stopped)
    }
}
