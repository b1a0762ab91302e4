//! What predictions are held against.

/// What a residual `r`, prediction less target, costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {
    Squared,
    /// Squared near the target, linear beyond `delta`, which is above 0.
    Huber {
        delta: f32,
    },
    /// Least where the share `quantile`, in (0, 1), of targets lies below.
    Pinball {
        quantile: f32,
    },
}

impl Penalty {
    #[inline(always)]
    pub(super) fn loss(self, r: f32) -> f32 {
        match self {
            Self::Squared => r * r,
            Self::Huber { delta } if r.abs() <= delta => 0.5 * r * r,
            Self::Huber { delta } => delta * (r.abs() - 0.5 * delta),
            Self::Pinball { quantile } if r < 0.0 => -quantile * r,
            Self::Pinball { quantile } => (1.0 - quantile) * r,
        }
    }

    /// 0 at the corner of a pinball.
    #[inline(always)]
    pub(super) fn slope(self, r: f32) -> f32 {
        match self {
            Self::Squared => 2.0 * r,
            Self::Huber { delta } => r.clamp(-delta, delta),
            Self::Pinball { quantile } if r < 0.0 => -quantile,
            Self::Pinball { .. } if r == 0.0 => 0.0,
            Self::Pinball { quantile } => 1.0 - quantile,
        }
    }
}

/// Targets, their weights, and how the loss is scaled.
#[derive(Debug, Clone)]
pub struct RegressionLoss {
    /// `[B, C]`, row-major.
    pub targets: Vec<f32>,
    /// What a residual of each output costs, `[C]`.
    pub penalties: Vec<Penalty>,
    /// A weight for each row.
    pub row_weight: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: f64,
}

impl RegressionLoss {
    /// Of the value at `at` of rows of `c`.
    #[inline(always)]
    pub(super) fn weight(&self, at: usize, c: usize) -> f32 {
        self.row_weight.as_ref().map_or(1.0, |w| w[at / c])
    }
}
