//! Task heads on a backbone, and the models that the two form together.

mod adapter;
mod classification;
mod cross_encoder;
mod generation;
mod language_head;
mod language_model;
mod layers;
mod padding;
mod published;
mod regression;
mod replaced_detector;
mod sampling;
mod saved_task;
mod saving;
mod targets;
mod task;
mod task_model;
mod task_network;
mod writing;

pub use classification::Classification;
pub use generation::{Generation, generate};
pub(crate) use language_model::likeliest;
pub use language_model::{LanguageBatch, LanguageLoss, LanguageModel, LanguageNetwork};
#[cfg(test)]
pub use layers::HeadLayers;
pub use published::Published;
pub use regression::Regression;
pub use replaced_detector::{DetectorNetwork, ReplacedDetector};
pub use sampling::Sampling;
pub use targets::{TargetKind, Targets, Truth};
pub use task::{Head, Task};
pub use task_model::{LinearMap, Start, TaskModel};
pub use task_network::TaskNetwork;
