//! Transfer learning for language models.
//!
//! The way of the data: text -> tokens -> packed batch -> backbone -> head -> objective -> gradients -> optimiser -> report.
//! A module uses only those above it in this list. Shape letters: `T` tokens, `B` sequences, `D` hidden size, `H` heads,
//! `V` vocabulary, `C` classes.
//!
//! What is re-exported here is the crate's surface: models, data, options, and the runs that train.

// What the binding alone uses is not seen from anywhere else.
#![cfg_attr(not(feature = "python"), allow(dead_code, unused_imports))]

mod error;
mod report;
mod files;
mod rng;
mod compute;
mod array;
mod matmul;
mod autograd;
mod ops;
mod text;
mod corpus;
mod batch;
mod gguf;
mod backbone;
mod bridge;
mod head;
mod objective;
mod optim;
mod train;
// Miri maps no files and calls no C, with which the files are read.
#[cfg(all(test, not(miri)))]
mod hostile;
#[cfg(feature = "python")]
mod bind;
#[cfg(test)]
#[path = "../tests/rust/main.rs"]
mod tests;
#[cfg(feature = "bench")]
#[doc(hidden)]
#[path = "../benches/inside.rs"]
pub mod benches;

// Tests and benchmarks name the crate as whoever uses it does.
#[cfg(any(test, feature = "bench"))]
extern crate self as warmstart;

pub use array::Array;
pub use backbone::{AdapterKind, AdapterTargets, Backbone, Config, Level, Lora, Parameters, Pooling, Vectors};
pub use bridge::{CandleFunction, Cell, Per, Recurrent, RecurrentDropout, Tensors, apply_padded, conv1d};
pub use corpus::{Corpus, CorpusWriter};
pub use error::{Error, Result};
pub use head::{
    Classification, Generation, Head, LanguageModel, LinearMap, Regression, ReplacedDetector, Sampling, Start, Targets,
    Task, TaskModel, Truth, generate,
};
pub use matmul::Precision;
pub use objective::{LanguageObjective, Unit, fill_masks, token_scores};
pub use optim::{OptimizerOptions, ScheduleKind};
pub use report::{Curve, Evaluation, Facts, Point, Record, Row, Summary};
pub use text::{Encodings, SideFiles, Tokenizer, TokenizerTrainer};
pub use train::{
    Dataset, Documents, Keep, MemoryEstimate, Method, Monitor, Outcome, PretrainingOptions, Strategy, StrategyPart,
    TaskOptions, TrainingOptions, estimate_fit, estimate_pretraining, fit, pretrain,
};
