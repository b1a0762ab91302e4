//! What the logits are held against.

/// Labels, their weights, and how the loss is scaled.
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    /// A class for each row, or none: the row is ignored.
    pub labels: Vec<Option<u32>>,
    /// A weight for each class.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row.
    pub row_weight: Option<Vec<f32>>,
    /// In [0, 1).
    pub label_smoothing: f32,
    /// What the sum over rows is divided by.
    pub normalizer: f64,
}

impl CrossEntropy {
    /// Of a class.
    pub(super) fn weight(&self, class: usize) -> f32 {
        self.class_weight.as_ref().map_or(1.0, |w| w[class])
    }

    pub(super) fn row_weight(&self, row: usize) -> f32 {
        self.row_weight.as_ref().map_or(1.0, |w| w[row])
    }
}
