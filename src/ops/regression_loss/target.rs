//! Targets of regression losses.

/// Loss function of a residual `r`, prediction minus target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {
    Squared,
    /// Huber loss: squared up to `delta`, which is above 0, and linear beyond it.
    Huber {
        delta: f32,
    },
    /// Pinball loss, minimised by the given `quantile`, in (0, 1), of the targets.
    Pinball {
        quantile: f32,
    },
}

impl std::fmt::Display for Penalty {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Squared => write!(f, "mse"),
            Self::Huber { delta } => write!(f, "huber, delta {delta}"),
            Self::Pinball { quantile } => write!(f, "pinball, quantile {quantile}"),
        }
    }
}

impl Penalty {
    #[inline(always)]
    pub(super) fn loss(self, r: f64) -> f64 {
        match self {
            Self::Squared => r * r,
            Self::Huber { delta } if r.abs() <= f64::from(delta) => 0.5 * r * r,
            Self::Huber { delta } => f64::from(delta) * (r.abs() - 0.5 * f64::from(delta)),
            Self::Pinball { quantile } if r < 0.0 => -f64::from(quantile) * r,
            Self::Pinball { quantile } => (1.0 - f64::from(quantile)) * r,
        }
    }

    /// Derivative of the loss function; 0 at the kink of the pinball loss.
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

/// Targets, their weights and the normaliser of the loss.
#[derive(Debug, Clone)]
pub struct RegressionLoss {
    /// Targets `[B, C]`, row-major.
    pub targets: Vec<f32>,
    /// Loss function of each output, `[C]`.
    pub penalties: Vec<Penalty>,
    /// A weight for each row, `[B]`.
    pub row_weight: Option<Vec<f32>>,
    /// Divisor of the summed loss.
    pub normalizer: f64,
}

impl RegressionLoss {
    /// Weight of the value at flat index `at`, for rows of `c` values.
    #[inline(always)]
    pub(super) fn weight(&self, at: usize, c: usize) -> f32 {
        self.row_weight.as_ref().map_or(1.0, |w| w[at / c])
    }
}
