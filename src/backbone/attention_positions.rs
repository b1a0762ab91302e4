//! Positions in attention scores: the tables of a model, and the values that all layers of a pass share.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::Config;
use super::distances::{DistanceMaps, DistancePass, DistanceTable};
use super::mode::Mode;
use super::parameters::Parameters;
use super::positions::ScorePositions;
use super::relative::{Context, Relative, RelativePass, Sinusoids};
use super::rotary_options::RotaryOptions;
use super::spec::Spec;
use crate::autograd::Var;
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::matmul::Format;
use crate::ops::attention::Rotary;
use crate::ops::dropout::dropout;

/// Tables, cached for the longest sequences seen so far.
pub(super) enum AttentionPositions {
    None,
    Rotary(Vec<RotaryTables>),
    TransformerXl {
        sinusoids: Sinusoids,
        causal: bool,
        /// Dropout of the sinusoids.
        dropout: f64,
    },
    Distances(Box<DistanceTable>),
}

/// The position inputs that all layers of a pass share.
#[derive(Clone)]
pub(super) enum PassPositions {
    None,
    /// Tables of each rotary option of the model, for the longest sequence.
    Rotary(Vec<Arc<Rotary>>),
    TransformerXl(Arc<RelativePass>),
    Distances(DistancePass),
}

/// A layer's parameters for positions.
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

    /// The position inputs for a pass over `batch`. Memory or tokens to predict are errors unless the model has
    /// relative attention.
    pub fn of_pass(&self, batch: &PackedBatch, context: &Context, mode: Mode) -> Result<PassPositions> {
        if let Self::TransformerXl { sinusoids, causal, dropout: p } = self {
            let dropped = |x: Var| mode.dropout("distances", *p).map_or(Ok(x.clone()), |p| dropout(&x, p));
            let relating = RelativePass::new(batch, context, *causal, sinusoids, dropped)?;
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
    /// The tables of the rotary option `way`; None if the layer does not rotate.
    pub fn rotary(&self, way: Option<usize>) -> Result<Option<&Arc<Rotary>>> {
        match (self, way) {
            (_, None) => Ok(None),
            (Self::Rotary(ways), Some(way)) if way < ways.len() => Ok(Some(&ways[way])),
            _ => Err(Error::internal("a layer rotates in a way that the model has not")),
        }
    }

    /// The value that all layers share and that gradients flow to, if any.
    pub fn shared(&self) -> Option<&Var> {
        match self {
            Self::Distances(pass) => pass.vectors.as_ref(),
            _ => None,
        }
    }

    /// A copy with this shared value.
    #[must_use]
    pub fn with_shared(&self, shared: Option<&Var>) -> Self {
        match self {
            Self::Distances(pass) => Self::Distances(pass.with_vectors(shared.cloned())),
            other => other.clone(),
        }
    }
}

impl LayerPositions {
    /// The parameters of the layer with the prefix `layer`.
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

/// Tables of one rotary option, cached for the longest sequence seen so far.
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
