//! Positions in the scores of attention: what a model keeps for them, and what all layers of a pass share.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::Config;
use super::distances::{DistanceMaps, DistancePass, DistanceTable};
use super::mode::Mode;
use super::parameters::Parameters;
use super::positions::ScorePositions;
use super::relative::{Context, Relating, Relative, Sinusoids};
use super::rotary_options::RotaryOptions;
use super::spec::Spec;
use crate::autograd::Value;
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::ops::attention::Rotary;
use crate::ops::dropout::dropout;
use crate::product::Format;

/// Tables, made for the longest sequences met so far.
pub(super) enum AttentionPositions {
    None,
    Rotary(Vec<RotaryTables>),
    TransformerXl {
        sinusoids: Sinusoids,
        causal: bool,
        /// Of the sinusoids.
        dropout: f64,
    },
    Distances(Box<DistanceTable>),
}

/// What all layers share of a pass.
#[derive(Clone)]
pub(super) enum PassPositions {
    None,
    /// Of each of the model's ways to rotate, for the longest sequence.
    Rotary(Vec<Arc<Rotary>>),
    TransformerXl(Arc<Relating>),
    Distances(DistancePass),
}

/// What a layer has for them.
pub(super) enum LayerPositions {
    None,
    TransformerXl(Box<Relative>),
    Disentangled(Box<DistanceMaps>),
}

impl AttentionPositions {
    /// The parameters that all layers share.
    pub fn specs(config: &Config, specs: &mut Vec<Spec>) {
        DistanceTable::specs(config, specs);
    }

    pub fn load(params: &Parameters, config: &Config) -> Result<Self> {
        Ok(match &config.attention.positions {
            ScorePositions::None => Self::None,
            ScorePositions::Rotary(ways) => Self::Rotary(ways.iter().cloned().map(RotaryTables::new).collect()),
            ScorePositions::TransformerXl { longest } => Self::TransformerXl {
                sinusoids: Sinusoids::new(config.hidden_size, *longest),
                causal: config.is_causal(),
                dropout: config.embedding.dropout,
            },
            ScorePositions::Bias(_) | ScorePositions::Disentangled(_) => {
                Self::Distances(Box::new(DistanceTable::load(params, config)?))
            }
        })
    }

    /// For a pass over `batch`. Memory and tokens to predict are errors where the model knows none.
    pub fn of_pass(&self, batch: &PackedBatch, context: &Context, mode: Mode) -> Result<PassPositions> {
        if let Self::TransformerXl { sinusoids, causal, dropout: p } = self {
            let dropped = |x: Value| mode.dropout("distances", *p).map_or(Ok(x.clone()), |p| dropout(&x, p));
            let relating = Relating::new(batch, context, *causal, sinusoids, dropped)?;
            return Ok(PassPositions::TransformerXl(Arc::new(relating)));
        }
        if context.memory.is_some() || context.prediction.is_some() {
            let message = "memory and tokens to predict are for models with two streams (xlnet)";
            return Err(Error::Value(message.into()));
        }
        let longest = batch.positions.iter().max().map_or(0, |&position| position as usize + 1);
        Ok(match self {
            Self::Rotary(ways) => PassPositions::Rotary(ways.iter().map(|tables| tables.of(longest)).collect()),
            Self::Distances(table) => PassPositions::Distances(table.of_pass(batch)?),
            Self::None | Self::TransformerXl { .. } => PassPositions::None,
        })
    }
}

impl PassPositions {
    /// The tables of a layer that rotates in this way; none if it does not rotate.
    pub fn rotary(&self, way: Option<usize>) -> Result<Option<&Arc<Rotary>>> {
        match (self, way) {
            (_, None) => Ok(None),
            (Self::Rotary(ways), Some(way)) if way < ways.len() => Ok(Some(&ways[way])),
            _ => Err(Error::internal("a layer rotates in a way that the model has not")),
        }
    }

    /// A value that all layers share and gradients flow to.
    pub fn shared(&self) -> Option<&Value> {
        match self {
            Self::Distances(pass) => pass.vectors.as_ref(),
            _ => None,
        }
    }

    /// The same with this value shared.
    #[must_use]
    pub fn with_shared(&self, shared: Option<&Value>) -> Self {
        match self {
            Self::Distances(pass) => Self::Distances(pass.with_vectors(shared.cloned())),
            other => other.clone(),
        }
    }
}

impl LayerPositions {
    /// The parameters of the layer whose names begin with `layer`.
    pub fn specs(config: &Config, layer: &str, specs: &mut Vec<Spec>) {
        match &config.attention.positions {
            ScorePositions::TransformerXl { .. } => Relative::specs(config, layer, specs),
            ScorePositions::Disentangled(options) => DistanceMaps::specs(config, layer, options, specs),
            _ => {}
        }
    }

    pub fn load(params: &Parameters, config: &Config, layer: &str, format: Format) -> Result<Self> {
        Ok(match &config.attention.positions {
            ScorePositions::TransformerXl { .. } => {
                Self::TransformerXl(Box::new(Relative::load(params, config, layer, format)?))
            }
            ScorePositions::Disentangled(options) => {
                Self::Disentangled(Box::new(DistanceMaps::load(params, config, layer, options, format)?))
            }
            _ => Self::None,
        })
    }
}

/// Tables of one kind of rotary positions, made for the longest sequence met so far.
pub(super) struct RotaryTables {
    options: RotaryOptions,
    made: Mutex<Option<(usize, Arc<Rotary>)>>,
}

impl RotaryTables {
    fn new(options: RotaryOptions) -> Self {
        Self { options, made: Mutex::default() }
    }

    /// Tables for at least `positions` positions.
    fn of(&self, positions: usize) -> Arc<Rotary> {
        let mut tables = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*tables {
            Some((made, tables)) if *made >= positions => tables.clone(),
            _ => {
                let made = positions.next_power_of_two();
                let rotary = Arc::new(Rotary::new(&self.options.frequencies, made, self.options.scale));
                *tables = Some((made, rotary.clone()));
                rotary
            }
        }
    }
}
