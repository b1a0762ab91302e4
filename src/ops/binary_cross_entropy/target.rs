//! Targets of sigmoid cross entropy.

/// Targets, their weights and the normaliser of the loss.
#[derive(Debug, Clone)]
pub struct BinaryCrossEntropy {
    /// Targets `[B, C]`, row-major, each in [0, 1].
    pub targets: Vec<f32>,
    /// A weight for each output, `[C]`.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row, `[B]`.
    pub row_weight: Option<Vec<f32>>,
    /// Divisor of the summed loss.
    pub normalizer: f64,
}

impl BinaryCrossEntropy {
    /// Weight of the value at flat index `at`, for rows of `c` values.
    #[inline(always)]
    pub(super) fn weight(&self, at: usize, c: usize) -> f32 {
        let of_output = self.class_weight.as_ref().map_or(1.0, |w| w[at % c]);
        self.row_weight.as_ref().map_or(of_output, |w| of_output * w[at / c])
    }
}
