//! Pooling modes.

/// Pooling mode: how the rows of a sequence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Mean,
    MeanSqrtLen,
    WeightedMean,
    Max,
}

impl Reduction {
    /// Weight of row `row` in a weighted sum of rows, without the factor from `scale`.
    #[inline(always)]
    pub(super) fn weight(self, row: usize) -> f32 {
        if self == Self::WeightedMean { (row + 1) as f32 } else { 1.0 }
    }

    /// Common factor of all `n` rows in a weighted sum.
    #[inline(always)]
    pub(super) fn scale(self, n: usize) -> f32 {
        let n = n.max(1) as f32;
        match self {
            Self::MeanSqrtLen => 1.0 / n.sqrt(),
            Self::WeightedMean => 2.0 / (n * (n + 1.0)),
            Self::Mean | Self::Max => 1.0 / n,
        }
    }
}
