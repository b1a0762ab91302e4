//! The Python bindings and the only code that touches Python: they take normalised arguments and return plain data.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

mod backbone;
mod convert;
mod corpus;
mod encodings;
mod errors;
mod guard;
mod language_model;
mod monitor;
mod options;
mod pretraining;
mod task;
mod task_model;
mod tokenizer;

use crate::backbone::WEIGHT_FILES;
use crate::compute;
use crate::error::Error;
use crate::text::SIDE_FILES;

#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: compute::Allocator = compute::Allocator;

/// Use `n` threads from now on; 0 means the default: RAYON_NUM_THREADS, else OMP_NUM_THREADS, else the processors this
/// process may use.
#[pyfunction]
fn set_num_threads(n: i64) -> PyResult<()> {
    let bad =
        || Error::Value(format!("set_num_threads({n}): expected 1 to {}, or 0 for the default", compute::MOST_THREADS));
    let n =
        usize::try_from(n).ok().filter(|&n| n <= compute::MOST_THREADS).ok_or_else(bad).map_err(errors::to_python)?;
    compute::set_num_threads(n);
    Ok(())
}

/// Number of threads that the kernels use.
#[pyfunction]
fn get_num_threads() -> usize {
    compute::num_threads()
}

/// Peak resident set size of this process so far, in bytes; 0 if the system does not report it.
#[pyfunction]
fn peak_memory_bytes() -> usize {
    status_bytes("VmHWM:")
}

/// Resident set size of this process, in bytes; 0 if the system does not report it.
#[pyfunction]
fn resident_memory_bytes() -> usize {
    status_bytes("VmRSS:")
}

/// Memory still available to this process, in bytes; None if the system does not report it.
#[pyfunction]
fn available_memory_bytes() -> Option<usize> {
    compute::available_memory()
}

fn status_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    compute::check_environment().map_err(errors::to_python)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("WEIGHT_FILES", PyTuple::new(module.py(), WEIGHT_FILES)?)?;
    module.add("SIDE_FILES", PyTuple::new(module.py(), SIDE_FILES)?)?;
    errors::register(module)?;
    module.add_class::<encodings::PyEncodings>()?;
    module.add_class::<backbone::PyBackbone>()?;
    module.add_class::<task::PyTask>()?;
    module.add_class::<task_model::PyTaskModel>()?;
    module.add_class::<corpus::PyCorpus>()?;
    module.add_class::<corpus::PyCorpusWriter>()?;
    module.add_class::<language_model::PyLanguageModel>()?;
    module.add_class::<language_model::PyReplacedDetector>()?;
    module.add_class::<options::PyStrategy>()?;
    module.add_class::<options::PyAdamW>()?;
    module.add_class::<options::PyTrainingOptions>()?;
    module.add_class::<options::PyObjective>()?;
    module.add_class::<tokenizer::PyTokenizer>()?;
    module.add_class::<tokenizer::PyTokenizerTrainer>()?;
    module.add_function(wrap_pyfunction!(tokenizer::_tokenizer_from_files, module)?)?;
    module.add_function(wrap_pyfunction!(backbone::_backbone_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(task_model::_classifier_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(task::_task_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(task_model::_task_model_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(language_model::_language_model_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(language_model::_replaced_detector_from_state, module)?)?;
    module.add_function(wrap_pyfunction!(pretraining::checkpoint_seed, module)?)?;
    module.add_function(wrap_pyfunction!(pretraining::pretrain, module)?)?;
    module.add_function(wrap_pyfunction!(pretraining::pretraining_memory, module)?)?;
    module.add_function(wrap_pyfunction!(pretraining::pretraining_batches, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(get_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(peak_memory_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(available_memory_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(resident_memory_bytes, module)?)
}
