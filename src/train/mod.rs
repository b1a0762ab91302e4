//! Strategy -> plan -> steps -> evaluation -> fitted model.

mod activations;
mod batches;
mod checkpoint;
mod fit;
mod learner;
mod memory;
mod monitor;
mod network;
mod optimisation;
mod options;
mod plan;
mod pretraining;
mod pretraining_batches;
mod pretraining_data;
mod pretraining_memory;
mod pretraining_options;
mod pretraining_setup;
mod run;
mod strategy;

pub use fit::{Dataset, Outcome, fit};
pub use learner::Learner;
pub use memory::{MemoryEstimate, estimate};
pub use monitor::Monitor;
pub use options::FitOptions;
pub use plan::{ParameterPlan, Plan};
pub use pretraining::{Pretrained, pretrain};
pub use pretraining_batches::{batches_to_evaluate, training_batches};
pub use pretraining_memory::estimate_pretraining;
pub use pretraining_options::PretrainOptions;
pub use pretraining_setup::Documents;
pub use strategy::{Method, Strategy};
