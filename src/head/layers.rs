//! The layers of a head, as defined by the model family: `output(dropout(norm(activation(dense(dropout(x))))))`.

use crate::autograd::Var;
use crate::backbone::{Config, HeadOptions, Init, Linear, Map, Mode, Norm, NormMap, Parameters, SentenceMaps, Spec};
use crate::error::Result;
use crate::matmul::Precision;
use crate::ops::affine::Affine;
use crate::ops::dropout::dropout;

/// The layers of a head with their parameters.
pub struct HeadLayers {
    /// Linear layers on the sentence vector, if the head takes sentence vectors.
    sentence: Option<SentenceMaps>,
    dense: Option<Linear>,
    norm: Option<Norm>,
    output: Linear,
    first_dropout: f64,
    last_dropout: f64,
}

/// Shapes and names of a head's layers.
struct Maps {
    dense: Option<Map>,
    norm: Option<NormMap>,
    output: Map,
}

impl Maps {
    fn of(config: &Config, options: &HeadOptions, n_outputs: usize) -> Self {
        let init = Init::Normal(config.initializer.std);
        let dense = options.dense.as_ref();
        let inputs = options.input_size.unwrap_or(config.hidden_size);
        let width = dense.map_or(inputs, |dense| dense.size);
        let weight = if options.tied { config.family.names.word_embeddings } else { options.output };
        Self {
            dense: dense.map(|d| Map::new(d.name, [d.size, inputs], d.bias, init)),
            norm: (!options.norm.is_empty()).then(|| NormMap::new(options.norm, width, config)),
            output: Map::named(
                format!("{weight}.weight"),
                options.output_bias,
                [n_outputs, width],
                Init::Normal(options.std),
            ),
        }
    }
}

impl HeadLayers {
    /// Specs of all parameters of the head. The backbone may own some of them: a pooler, or the word embeddings of a
    /// tied head.
    pub fn specs(config: &Config, options: &HeadOptions, n_outputs: usize) -> Vec<Spec> {
        let maps = Maps::of(config, options, n_outputs);
        let mut specs = Vec::new();
        maps.dense.iter().for_each(|map| map.specs(&mut specs));
        maps.norm.iter().for_each(|norm| norm.specs(&mut specs));
        maps.output.specs(&mut specs);
        specs
    }

    /// Build from parameters; the trained ones receive gradients. Matrix products run in `precision`.
    pub fn load(
        params: &Parameters,
        config: &Config,
        options: &HeadOptions,
        n_outputs: usize,
        precision: Precision,
    ) -> Result<Self> {
        params.check_finite(&Self::specs(config, options, n_outputs))?;
        let maps = Maps::of(config, options, n_outputs);
        let linear = |map: &Map, activation| Linear::load(params, map, activation, precision);
        let activation = options.dense.as_ref().map(|dense| dense.activation);
        Ok(Self {
            sentence: options.is_on_sentence().then(|| SentenceMaps::load(params, config)).transpose()?,
            dense: maps.dense.as_ref().map(|map| linear(map, activation)).transpose()?,
            norm: maps.norm.as_ref().map(|norm| Norm::load(params, norm, config)).transpose()?,
            output: linear(&maps.output, None)?,
            first_dropout: options.first_dropout,
            last_dropout: options.last_dropout,
        })
    }

    /// Compute outputs `[B, C]` from pooled hidden states `[B, k D]`.
    pub fn forward(&self, x: &Var, mode: Mode) -> Result<Var> {
        self.outputs(&self.before_output(x, mode)?)
    }

    /// Apply the output layer: `[B, D']` to outputs `[B, C]`.
    pub fn outputs(&self, x: &Var) -> Result<Var> {
        self.output.forward(x)
    }

    /// The output layer.
    pub(crate) fn output(&self) -> &Affine {
        self.output.affine()
    }

    /// Compute the output layer's input `[B, D']` from pooled hidden states `[B, k D]`.
    pub(crate) fn before_output(&self, x: &Var, mode: Mode) -> Result<Var> {
        let drop = |x: Var, place: &str, p| mode.dropout(place, p).map_or(Ok(x.clone()), |p| dropout(&x, p));
        let mut x = self.sentence.as_ref().map_or(Ok(x.clone()), |maps| maps.forward(x))?;
        if let Some(dense) = &self.dense {
            x = dense.forward(&drop(x, "head", self.first_dropout)?)?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        drop(x, "classifier", self.last_dropout)
    }
}
