//! What the optimiser changes.

use candle_core::Tensor;

/// A parameter that is trained, with its own learning rate and decay.
pub struct Trainable {
    pub name: String,
    /// Contiguous, and nobody else's: the optimiser changes its values in place.
    pub tensor: Tensor,
    /// The peak; a schedule gives the factor of each step.
    pub learning_rate: f64,
    pub weight_decay: f64,
}
