//! Task-specific layers on a backbone, and the models the two make together.

mod layers;
mod sequence_classifier;

pub use layers::Head;
pub use sequence_classifier::SequenceClassifier;
