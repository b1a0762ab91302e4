//! Position information: a table added to the embeddings, and terms in the attention scores.

use super::buckets::{BiasBuckets, VectorBuckets};
use super::rotary_options::RotaryOptions;

/// A table of position embeddings, added to those of tokens.
#[derive(Debug, Clone, Copy)]
pub struct LearnedPositions {
    pub rows: usize,
    /// The row of the first position.
    pub first: usize,
    /// Padding token, which has no position of its own: it takes the row before `first`, and later tokens are numbered
    /// as if it were absent.
    pub padding: Option<u32>,
}

/// The position information in attention scores.
#[derive(Debug, Clone)]
pub enum ScorePositions {
    /// None: positions are in the embeddings.
    None,
    /// Queries and keys are rotated by their positions (Su et al. 2021); each layer uses one of these options.
    Rotary(Vec<RotaryOptions>),
    /// Sinusoids of distances through a linear layer of each layer, and whether segments differ (Dai et al. 2019, Yang
    /// et al. 2019).
    TransformerXl {
        /// Distances are clipped to this.
        longest: Option<usize>,
    },
    /// A bias per distance bucket and head, shared by all layers (Raffel et al. 2020).
    Bias(BiasBuckets),
    /// Disentangled attention: vectors of distances are multiplied with queries and keys (He et al. 2021).
    Disentangled(Disentangled),
}

/// Options of disentangled attention.
// Independent options of a configuration.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy)]
pub struct Disentangled {
    pub buckets: VectorBuckets,
    /// Scores include queries times vectors of distances.
    pub content_to_position: bool,
    /// Scores include keys times vectors of distances.
    pub position_to_content: bool,
    /// The key and query projections are also used for the distance vectors; else each layer has separate ones.
    pub shared_maps: bool,
    /// The table of distance vectors is normalised before use.
    pub normed: bool,
}

impl ScorePositions {
    /// Number of parameters for positions, shared by all layers and per layer, at these widths; to reject absurd sizes.
    pub(super) fn parameters(&self, hidden_size: usize, attention: usize) -> (usize, usize) {
        match self {
            Self::None | Self::Rotary(_) => (0, 0),
            Self::TransformerXl { .. } => (0, hidden_size * attention),
            Self::Bias(buckets) => (buckets.rows * attention, 0),
            Self::Disentangled(options) => {
                let maps = if options.shared_maps { 0 } else { options.terms() - 1 };
                (2 * options.buckets.span * hidden_size, maps * hidden_size * attention)
            }
        }
    }

    /// True if keys and values of earlier tokens can be cached for later ones.
    pub fn fit_a_cache(&self) -> bool {
        matches!(self, Self::None | Self::Rotary(_))
    }
}

impl Disentangled {
    /// Number of products in a score, by which it is scaled.
    pub fn terms(&self) -> usize {
        1 + usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }
}
