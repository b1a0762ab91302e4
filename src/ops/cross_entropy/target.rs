//! Targets of softmax cross entropy.

/// Labels, their weights and the normaliser of the loss.
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    /// Class of each row; None for a row to ignore.
    pub labels: Vec<Option<u32>>,
    /// A weight for each class, `[C]`.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row, `[B]`.
    pub row_weight: Option<Vec<f32>>,
    /// Label smoothing, in [0, 1).
    pub label_smoothing: f32,
    /// Divisor of the summed loss.
    pub normalizer: f64,
}

impl CrossEntropy {
    /// Weight of a class.
    pub(super) fn weight(&self, class: usize) -> f32 {
        self.class_weight.as_ref().map_or(1.0, |w| w[class])
    }

    pub(super) fn row_weight(&self, row: usize) -> f32 {
        self.row_weight.as_ref().map_or(1.0, |w| w[row])
    }
}
