//! What the logits are held against.

/// Targets, their weights, and how the loss is scaled.
#[derive(Debug, Clone)]
pub struct BinaryCrossEntropy {
    /// `[B, C]`, row-major, each in [0, 1].
    pub targets: Vec<f32>,
    /// A weight for each output.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row.
    pub row_weight: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: f64,
}

impl BinaryCrossEntropy {
    /// Of the value at `at` of rows of `c`.
    #[inline(always)]
    pub(super) fn weight(&self, at: usize, c: usize) -> f32 {
        let of_output = self.class_weight.as_ref().map_or(1.0, |w| w[at % c]);
        self.row_weight.as_ref().map_or(of_output, |w| of_output * w[at / c])
    }
}
