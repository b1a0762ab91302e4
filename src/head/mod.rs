//! Task-specific layers on a backbone, and the models the two make together.

mod classification;
mod sequence_classifier;

pub use classification::ClassificationHead;
pub use sequence_classifier::SequenceClassifier;
