//! A transformer on packed sequences, built from the configuration of its family; parameters are named as in
//! transformers 5.x.
//!
//! Embeddings are the sum of word, position and segment vectors, optionally normalised and projected to the width of
//! the layers. Layers follow and, in pre-norm models, a final norm.

use std::sync::{Arc, PoisonError};

use super::attention_positions::AttentionPositions;
use super::block::{Layer, Sequences};
use super::config::Config;
use super::layers::{Linear, Map, Norm, NormMap};
use super::mode::Mode;
use super::parameters::Parameters;
use super::positions::LearnedPositions;
use super::relative::Context;
use super::spec::Spec;
use crate::autograd::{Var, checkpoint};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::ops::dropout::dropout;
use crate::ops::embedding::{embedding_sum, stacked_rows};

/// Embeddings and layers.
pub struct Transformer {
    embeddings: Embeddings,
    layers: Vec<Arc<Layer>>,
    final_norm: Option<Norm>,
    positions: AttentionPositions,
}

impl Transformer {
    /// The parameters that every pass uses: without pooler, heads and mask embedding.
    pub fn specs(config: &Config) -> Vec<Spec> {
        let mut specs = Vec::new();
        Embeddings::specs(config, &mut specs);
        AttentionPositions::specs(config, &mut specs);
        for i in first_of_groups(config) {
            Layer::specs(config, i, &mut specs);
        }
        if let Some(norm) = final_norm(config) {
            norm.specs(&mut specs);
        }
        specs
    }

    /// Build from parameters; trainable ones receive gradients. Products are computed in `precision`.
    pub fn load(params: &Parameters, config: &Config, precision: Precision) -> Result<Self> {
        // Layers that share parameters are one object, so that weights are packed once.
        let groups = first_of_groups(config);
        let groups =
            groups.map(|i| Layer::load(params, config, i, precision).map(Arc::new)).collect::<Result<Vec<_>>>()?;
        let n = config.num_hidden_layers;
        Ok(Self {
            embeddings: Embeddings::load(params, config, precision)?,
            layers: (0..n).map(|i| groups[i * groups.len() / n].clone()).collect(),
            final_norm: final_norm(config).map(|norm| Norm::load(params, &norm, config)).transpose()?,
            positions: AttentionPositions::load(params, config)?,
        })
    }

    /// Hidden states `[T, D]` after `n_layers` layers; 0 is the embedding output. After all layers, the final norm is
    /// applied.
    pub fn forward(&self, batch: &PackedBatch, n_layers: usize, mode: Mode) -> Result<Var> {
        self.forward_through(batch, n_layers, mode, &mut |_, _| Ok(()))
    }

    /// As [`Transformer::forward`]; `on_layer` sees every hidden state on the way, from 0 to `n_layers`.
    pub fn forward_through(
        &self,
        batch: &PackedBatch,
        n_layers: usize,
        mode: Mode,
        on_layer: &mut dyn FnMut(usize, &Var) -> Result<()>,
    ) -> Result<Var> {
        self.forward_within(batch, &Context::default(), n_layers, mode, on_layer)
    }

    /// As [`Transformer::forward_through`], with a context. Memory and tokens to predict need relative attention
    /// (XLNet); a cache is for the other models: the batch's tokens follow the cached ones, and their keys and values
    /// are appended. The rows of the hidden states are those of [`Context::rows`].
    pub fn forward_within(
        &self,
        batch: &PackedBatch,
        context: &Context,
        n_layers: usize,
        mode: Mode,
        on_layer: &mut dyn FnMut(usize, &Var) -> Result<()>,
    ) -> Result<Var> {
        let all = Sequences {
            cu_seqlens: batch.cu_seqlens.clone(),
            positions: self.positions.of_pass(batch, context, mode)?,
            cache: context.cache.clone(),
            layer: 0,
        };
        let mut hidden = self.embeddings.forward(batch, context, mode)?;
        on_layer(0, &hidden)?;
        for (i, layer) in self.layers.iter().take(n_layers).enumerate() {
            let (layer, mode) = (layer.clone(), mode.layer(i));
            let sequences = Sequences { layer: i, ..all.clone() };
            hidden = if mode.recomputes() {
                let inputs: Vec<&Var> = std::iter::once(&hidden).chain(all.positions.shared()).collect();
                checkpoint(&inputs, move |x| {
                    let positions = sequences.positions.with_shared(x.get(1));
                    layer.forward(&x[0], &Sequences { positions, ..sequences.clone() }, mode)
                })?
            } else {
                layer.forward(&hidden, &sequences, mode)?
            };
            if let Some(norm) = self.final_norm.as_ref().filter(|_| i + 1 == self.layers.len()) {
                hidden = norm.forward(&hidden)?;
            }
            on_layer(i + 1, &hidden)?;
        }
        if let Some(cache) = &context.cache {
            cache.lock().unwrap_or_else(PoisonError::into_inner).advance(&batch.cu_seqlens);
        }
        Ok(hidden)
    }
}

/// The first layer of each group that shares parameters.
fn first_of_groups(config: &Config) -> impl Iterator<Item = usize> {
    let (n, groups) = (config.num_hidden_layers, config.layer_groups);
    (0..groups).map(move |group| (group * n).div_ceil(groups))
}

fn final_norm(config: &Config) -> Option<NormMap> {
    config.norm.before.then(|| NormMap::new(config.family.names.final_norm, config.hidden_size, config))
}

/// Depth of a parameter: 0 for embeddings, i + 1 for layer i, n + 1 for everything above. For shared parameters, the
/// topmost layer.
pub(crate) fn depth(name: &str, config: &Config) -> usize {
    let names = &config.family.names;
    let embeddings = [
        names.word_embeddings,
        names.position_embeddings,
        names.segment_embeddings,
        names.embedding_norm,
        names.embedding_projection,
        names.distance_table,
        names.distance_norm,
    ];
    let is_in = |module: &str| !module.is_empty() && name.strip_prefix(module).is_some_and(|r| r.starts_with('.'));
    if config.is_of_predictions(name) || embeddings.into_iter().any(is_in) {
        return 0;
    }
    let (before, _) = names.layer.split_once("{}").unwrap_or_default();
    let group = name.strip_prefix(before).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let n = config.num_hidden_layers;
    group.map_or(n + 1, |group| ((group + 1) * n).div_ceil(config.layer_groups))
}

impl LearnedPositions {
    /// The row of the position table for each token of a batch, `[T]`.
    fn rows_of(&self, batch: &PackedBatch) -> Arc<[u32]> {
        let first = self.first as u32;
        if first == 0 {
            return batch.positions.clone();
        }
        let mut rows: Vec<u32> = batch.positions.iter().map(|position| position + first).collect();
        if let Some(padding) = self.padding.filter(|padding| batch.ids.contains(padding)) {
            for sequence in batch.cu_seqlens.windows(2) {
                let tokens = sequence[0] as usize..sequence[1] as usize;
                let mut passed = 0;
                for (row, &id) in rows[tokens.clone()].iter_mut().zip(&batch.ids[tokens]) {
                    *row = if id == padding { first - 1 } else { *row - passed };
                    passed += u32::from(id == padding);
                }
            }
        }
        rows.into()
    }
}

struct Embeddings {
    word: Var,
    position: Option<(Var, LearnedPositions)>,
    segment: Option<Var>,
    /// `[1, D]`
    mask: Option<Var>,
    norm: Option<Norm>,
    projection: Option<Linear>,
    dropout: f64,
}

impl Embeddings {
    fn norm(config: &Config) -> Option<NormMap> {
        let size = config.embedding.size;
        config.embedding.normed.then(|| NormMap::new(config.family.names.embedding_norm, size, config))
    }

    fn projection(config: &Config) -> Option<Map> {
        let (name, shape) = (config.family.names.embedding_projection, [config.hidden_size, config.embedding.size]);
        let init = config.initializer.init(config.initializer.std);
        config.embedding.projected.then(|| Map::new(name, shape, true, init))
    }

    fn specs(config: &Config, specs: &mut Vec<Spec>) {
        let (names, options) = (&config.family.names, &config.embedding);
        let mut table = |name: &str, rows| {
            let init = config.initializer.init(config.initializer.std);
            specs.push(Spec::new(format!("{name}.weight"), &[rows, options.size], init));
        };
        table(names.word_embeddings, config.vocab_size);
        if let Some(positions) = options.positions {
            table(names.position_embeddings, positions.rows);
        }
        if options.segments > 0 {
            table(names.segment_embeddings, options.segments);
        }
        if let Some(norm) = Self::norm(config) {
            norm.specs(specs);
        }
        if let Some(projection) = Self::projection(config) {
            projection.specs(specs);
        }
    }

    fn load(params: &Parameters, config: &Config, precision: Precision) -> Result<Self> {
        let (names, options) = (&config.family.names, &config.embedding);
        let table = |name: &str| params.value(&format!("{name}.weight")).cloned();
        let position = |positions| Ok::<_, Error>((table(names.position_embeddings)?, positions));
        Ok(Self {
            word: table(names.word_embeddings)?,
            position: options.positions.map(position).transpose()?,
            segment: (options.segments > 0).then(|| table(names.segment_embeddings)).transpose()?,
            mask: params.value(names.mask_embedding).ok().cloned(),
            norm: Self::norm(config).map(|norm| Norm::load(params, &norm, config)).transpose()?,
            projection: Self::projection(config).map(|map| Linear::load(params, &map, None, precision)).transpose()?,
            dropout: options.dropout,
        })
    }

    fn forward(&self, batch: &PackedBatch, context: &Context, mode: Mode) -> Result<Var> {
        let mut tables = vec![(&self.word, batch.ids.clone())];
        if let Some((table, positions)) = &self.position {
            tables.push((table, positions.rows_of(batch)));
        }
        tables.extend(self.segment.iter().map(|table| (table, batch.segments.clone())));
        let mut x = embedding_sum(&tables)?; // [T, E]
        if let (Some(mask), Some(_)) = (&self.mask, &context.prediction) {
            let (rows, t) = (context.rows(batch)?, batch.n_tokens());
            let mut sources = vec![t as u32; t + rows.predictions.len()];
            rows.tokens.iter().enumerate().for_each(|(token, &row)| sources[row as usize] = token as u32);
            x = stacked_rows(&[&x, mask], sources.into())?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        if let Some(p) = mode.dropout("embeddings", self.dropout) {
            x = dropout(&x, p)?;
        }
        match &self.projection {
            Some(projection) => projection.forward(&x), // [T, D]
            None => Ok(x),
        }
    }
}
