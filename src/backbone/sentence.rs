//! From pooled vectors to sentence vectors: the dense layers after the pooling, and the final normalisation.

use super::config::Config;
use super::layers::{Linear, Map};
use super::parameters::Parameters;
use super::sentence_modules::Dense;
use super::spec::{Init, Spec};
use crate::autograd::Var;
use crate::error::Result;
use crate::matmul::Precision;

/// The least length that a vector is divided by, as in `torch.nn.functional.normalize` of torch 2.15.
const LEAST_LENGTH: f32 = 1e-12;

/// The dense layers of the sentence-transformers modules, in order; empty if there are none.
pub(crate) struct SentenceMaps(Vec<Linear>);

fn dense(config: &Config) -> impl Iterator<Item = &Dense> {
    config.sentence.iter().flat_map(|modules| &modules.dense)
}

fn map(config: &Config, dense: &Dense) -> Map {
    Map::new(&dense.name(), [dense.outputs, dense.inputs], dense.bias, Init::Normal(config.initializer.std))
}

/// The parameters of the dense layers after the pooling.
pub(crate) fn sentence_specs(config: &Config) -> Vec<Spec> {
    let mut specs = Vec::new();
    for dense in dense(config) {
        map(config, dense).specs(&mut specs);
    }
    specs
}

impl SentenceMaps {
    /// Build from parameters; trainable ones receive gradients. Products are in f32; with one row per text they are
    /// small.
    pub(crate) fn load(params: &Parameters, config: &Config) -> Result<Self> {
        params.check_finite(&sentence_specs(config))?;
        let load = |dense: &Dense| Linear::load(params, &map(config, dense), dense.activation, Precision::F32);
        Ok(Self(dense(config).map(load).collect::<Result<_>>()?))
    }

    /// Maps pooled vectors `[B, k D]` to `[B, D']`.
    pub(crate) fn forward(&self, x: &Var) -> Result<Var> {
        self.0.iter().try_fold(x.clone(), |x, dense| dense.forward(&x))
    }
}

/// Divide each row of `[N, columns]` by its length.
pub fn normalize_rows(rows: &mut [f32], columns: usize) {
    for row in rows.chunks_exact_mut(columns.max(1)) {
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32;
        let inverse = 1.0 / length.max(LEAST_LENGTH);
        for x in row {
            *x *= inverse;
        }
    }
}
