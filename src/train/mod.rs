//! Strategy -> plan -> steps -> evaluation -> fitted model.

mod activations;
mod batches;
mod checkpoint;
mod task;
mod task_memory;
mod identity;
mod inputs;
mod learner;
mod length;
mod memory;
mod monitor;
mod optimisation;
mod options;
mod plan;
mod pretrainable;
mod pretraining;
mod pretraining_data;
mod pretraining_memory;
mod progress;
mod strategy;
mod trainer;

pub use checkpoint::checkpoint_seed;
pub use memory::MemoryEstimate;
pub use monitor::Monitor;
pub use options::{Keep, PretrainingOptions, TaskOptions, TrainingOptions};
pub use plan::Plan;
pub use pretraining::pretrain;
pub use pretraining_data::{Documents, pretraining_batches};
pub use pretraining_memory::estimate_pretraining;
pub use strategy::{Method, Strategy, StrategyPart};
pub use task::{Dataset, fit};
pub use task_memory::estimate_fit;
pub use trainer::Outcome;
