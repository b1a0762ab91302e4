//! How a model knows where tokens stand: a table that is added to the embeddings, and what the scores of attention depend on.

use super::buckets::{BiasBuckets, VectorBuckets};
use super::rotary_options::RotaryOptions;

/// A table of positions, added to the embeddings of tokens.
#[derive(Debug, Clone, Copy)]
pub struct LearnedPositions {
    pub rows: usize,
    /// The row of the first position.
    pub first: usize,
    /// A token that has no position: its row is the one before the first, and those behind it count on as if it were not
    /// there.
    pub padding: Option<u32>,
}

/// What the scores of attention depend on beside queries and keys.
#[derive(Debug, Clone)]
pub enum ScorePositions {
    /// Nothing: positions are in the embeddings.
    None,
    /// Queries and keys are rotated by their positions (Su et al. 2021); each layer says in which of these ways.
    Rotary(Vec<RotaryOptions>),
    /// Distances, as sinusoids that a map of each layer takes, and whether segments differ (Dai et al. 2019, Yang et al. 2019).
    TransformerXl {
        /// Distances beyond this count as this.
        longest: Option<usize>,
    },
    /// Distances, as a bias of each head that all layers share (Raffel et al. 2020).
    Bias(BiasBuckets),
    /// Distances, as vectors that meet queries and keys (He et al. 2021).
    Disentangled(Disentangled),
}

/// How vectors of distances meet queries and keys.
// Choices of a configuration, none of which excludes another.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy)]
pub struct Disentangled {
    pub buckets: VectorBuckets,
    /// Queries meet vectors of distances.
    pub content_to_position: bool,
    /// Keys meet vectors of distances.
    pub position_to_content: bool,
    /// The maps of keys and queries make these vectors too; else each layer has maps for them.
    pub shared_maps: bool,
    /// The table of vectors is normed before.
    pub normed: bool,
}

impl ScorePositions {
    /// Parameters that they have in all layers together, and in each, of a model of such widths; to see that they are not absurd.
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

    /// True if keys and values of tokens before can be kept for the next ones.
    pub fn fit_a_cache(&self) -> bool {
        matches!(self, Self::None | Self::Rotary(_))
    }
}

impl Disentangled {
    /// Products in a score, by which it is scaled.
    pub fn terms(&self) -> usize {
        1 + usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }
}
