//! What a model is trained towards.

mod classification;

pub use classification::{Classification, Labels};
