//! Task-specific layers on a backbone, and the models the two make together.

mod classifier;
mod classifier_network;
mod generation;
mod language_model;
mod layers;
mod padding;
mod published;
mod replaced_detector;
mod sampling;
mod saving;
mod task_head;
mod writing;

pub use classifier::{Classifier, LinearMap, Start};
pub use classifier_network::ClassifierNetwork;
pub use generation::{Generation, generate};
pub(crate) use language_model::likeliest;
pub use language_model::{LanguageBatch, LanguageLoss, LanguageModel, LanguageNetwork};
#[cfg(test)]
pub use layers::Head;
pub use published::Published;
pub use replaced_detector::{DetectorNetwork, ReplacedDetector};
pub use sampling::Sampling;
