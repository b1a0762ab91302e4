//! Parameters that the optimiser updates.

use crate::array::Array;

/// A trainable parameter with its own learning rate and weight decay.
pub struct Trainable {
    pub name: String,
    /// Values; the optimiser may overwrite them in place.
    pub array: Array,
    /// Peak learning rate; the schedule multiplies it at each step.
    pub learning_rate: f64,
    pub weight_decay: f64,
}
