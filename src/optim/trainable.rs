//! What the optimiser changes.

use candle_core::Var;

/// A parameter that is trained, with its own learning rate and decay.
pub struct Trainable {
    pub name: String,
    pub var: Var,
    /// The peak; a schedule gives the factor of each step.
    pub learning_rate: f64,
    pub weight_decay: f64,
}
