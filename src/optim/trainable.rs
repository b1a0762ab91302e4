//! What the optimiser changes.

use crate::array::Array;

/// A parameter that is trained, with its own learning rate and decay.
pub struct Trainable {
    pub name: String,
    /// Its values may be overwritten: the optimiser does.
    pub array: Array,
    /// The peak; a schedule gives the factor of each step.
    pub learning_rate: f64,
    pub weight_decay: f64,
}
