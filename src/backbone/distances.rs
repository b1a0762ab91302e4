//! Attention whose scores have terms by distance: the table that all layers share, the projections that a layer may
//! have for it, and the values computed from them in a pass.

use std::sync::{Arc, Mutex, PoisonError};

use super::buckets::{BiasBuckets, VectorBuckets};
use super::config::Config;
use super::family::Part;
use super::layers::{Linear, Map, Norm, NormMap};
use super::mode::Mode;
use super::parameters::Parameters;
use super::positions::{Disentangled, ScorePositions};
use super::spec::Spec;
use crate::autograd::Var;
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::matmul::Format;
use crate::ops::bucketed_attention::{BucketedInputs, BucketedScheme, Buckets, bucketed_attention};
use crate::ops::dropout::dropout;
use crate::ops::embedding::embedding;

/// A table with a row per distance bucket, shared by all layers.
pub(super) struct DistanceTable {
    rows: DistanceRows,
    /// Biases `[R, H]` or vectors `[R, D]`.
    table: Var,
    norm: Option<Norm>,
    /// Buckets of all distances, cached for the longest sequence seen so far.
    buckets: Mutex<Option<Buckets>>,
}

/// The kind of table: how distances map to rows, and what the rows hold.
#[derive(Clone, Copy)]
enum DistanceRows {
    Biases(BiasBuckets),
    Vectors(VectorBuckets),
}

/// The distance terms of a pass, shared by all layers.
#[derive(Clone)]
pub(super) struct DistancePass {
    buckets: Buckets,
    /// `[R, H]`
    bias: Option<Var>,
    /// `[R, D]`
    pub vectors: Option<Var>,
}

impl DistanceTable {
    /// Kind and shape of the table, and whether it is normalised; None if scores have no terms by distance.
    fn shape(config: &Config) -> Option<(DistanceRows, [usize; 2], bool)> {
        match config.attention.positions {
            ScorePositions::Bias(buckets) => {
                Some((DistanceRows::Biases(buckets), [buckets.rows, config.attention.heads], false))
            }
            ScorePositions::Disentangled(options) => {
                let rows = DistanceRows::Vectors(options.buckets);
                Some((rows, [2 * options.buckets.span, config.hidden_size], options.normed))
            }
            _ => None,
        }
    }

    fn norm(config: &Config) -> NormMap {
        NormMap::new(config.family.names.distance_norm, config.hidden_size, config)
    }

    pub fn specs(config: &Config, specs: &mut Vec<Spec>) {
        let Some((_, shape, normed)) = Self::shape(config) else { return };
        let init = config.initializer.init(config.initializer.std);
        specs.push(Spec::new(format!("{}.weight", config.family.names.distance_table), &shape, init));
        if normed {
            Self::norm(config).specs(specs);
        }
    }

    pub fn load(params: &Parameters, config: &Config) -> Result<Self> {
        let (rows, _, normed) =
            Self::shape(config).ok_or_else(|| Error::internal("a table of distances of a model without any"))?;
        Ok(Self {
            rows,
            table: params.value(&format!("{}.weight", config.family.names.distance_table))?.clone(),
            norm: normed.then(|| Norm::load(params, &Self::norm(config), config)).transpose()?,
            buckets: Mutex::default(),
        })
    }

    /// Buckets for sequences of up to `longest` tokens.
    fn buckets(&self, longest: usize) -> Buckets {
        let mut made = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(buckets) if buckets.longest() >= longest => buckets.clone(),
            _ => {
                let reach = longest.next_power_of_two();
                let buckets = match self.rows {
                    DistanceRows::Biases(buckets) => Buckets::new(reach, |distance| buckets.row(distance)),
                    DistanceRows::Vectors(buckets) => Buckets::new(reach, |distance| buckets.row(distance)),
                };
                made.insert(buckets).clone()
            }
        }
    }

    /// The distance terms for a pass over `batch`. Vectors are limited to those that its longest sequence needs.
    pub fn of_pass(&self, batch: &PackedBatch) -> Result<DistancePass> {
        let longest = batch.positions.iter().max().map_or(1, |&position| position as usize + 1);
        let buckets = self.buckets(longest);
        if let DistanceRows::Biases(_) = self.rows {
            return Ok(DistancePass { buckets, bias: Some(self.table.clone()), vectors: None });
        }
        let (first, last) = buckets.range(longest);
        let rows = embedding(&self.table, (first..=last).collect())?;
        let vectors = self.norm.as_ref().map_or(Ok(rows.clone()), |norm| norm.forward(&rows))?;
        Ok(DistancePass { buckets: buckets.less(first), bias: None, vectors: Some(vectors) })
    }
}

/// The projections of a layer for distance vectors.
pub(super) struct DistanceMaps {
    options: Disentangled,
    /// None if the layer's key and query projections serve instead.
    key: Option<Linear>,
    query: Option<Linear>,
    dropout: f64,
}

impl DistanceMaps {
    /// The separate projections for keys and for queries, each if it is used.
    fn maps(config: &Config, layer: &str, options: &Disentangled) -> [Option<Map>; 2] {
        let names = &config.family.names;
        let map = |name: &'static str, used: bool| {
            let (d, init) = (config.hidden_size, config.initializer.init(config.initializer.std));
            let width = config.attention.heads * config.attention.head_size;
            let own = used && !options.shared_maps;
            own.then(|| Map::of_layer(layer, Part::whole(name), [width, d], true, init, names.input_major))
        };
        [map(names.distance_key, options.content_to_position), map(names.distance_query, options.position_to_content)]
    }

    pub fn specs(config: &Config, layer: &str, options: &Disentangled, specs: &mut Vec<Spec>) {
        Self::maps(config, layer, options).iter().flatten().for_each(|map| map.specs(specs));
    }

    pub fn load(
        params: &Parameters,
        config: &Config,
        layer: &str,
        options: &Disentangled,
        format: Format,
    ) -> Result<Self> {
        let load = |map: Option<Map>| map.map(|map| Linear::load(params, &map, None, format)).transpose();
        let [key, query] = Self::maps(config, layer, options);
        Ok(Self { options: *options, key: load(key)?, query: load(query)?, dropout: config.embedding.dropout })
    }

    /// Projects distance vectors `[R, D]` to position keys (multiplied with queries) and position queries (multiplied
    /// with keys), `[R, H * d]` each. `query` and `key` are the layer's own projections, used if shared.
    fn vectors(&self, vectors: &Var, [query, key]: [&Linear; 2], mode: Mode) -> Result<[Option<Var>; 2]> {
        let vectors = match mode.dropout("distances", self.dropout) {
            Some(p) => &dropout(vectors, p)?,
            None => vectors,
        };
        let Disentangled { content_to_position, position_to_content, .. } = self.options;
        let made = |used: bool, own: &Option<Linear>, shared: &Linear| {
            used.then(|| own.as_ref().unwrap_or(shared).forward(vectors)).transpose()
        };
        Ok([made(content_to_position, &self.key, key)?, made(position_to_content, &self.query, query)?])
    }
}

/// Queries, keys and values, and the projections of the first two.
pub(super) struct Attended<'a> {
    pub q: &'a Var,
    pub k: &'a Var,
    pub v: &'a Var,
    pub maps: [&'a Linear; 2],
}

impl DistancePass {
    /// A copy with these vectors.
    #[must_use]
    pub fn with_vectors(&self, vectors: Option<Var>) -> Self {
        Self { vectors, ..self.clone() }
    }

    /// Attention of `heads` heads, from queries, keys and values.
    pub fn attend(
        &self,
        attended: &Attended,
        maps: Option<&DistanceMaps>,
        (cu_seqlens, heads): (&Arc<[u32]>, usize),
        (dropout, mode): (f64, Mode),
        format: Format,
    ) -> Result<Var> {
        let Attended { q, k, v, maps: shared } = *attended;
        let [position_keys, position_queries] = match (maps, &self.vectors) {
            (Some(maps), Some(vectors)) => maps.vectors(vectors, shared, mode)?,
            _ => [None, None],
        };
        let size = q.array().dims2()?.1 / heads;
        let terms = maps.map_or(1, |maps| maps.options.terms());
        let scheme = BucketedScheme {
            cu_seqlens: cu_seqlens.clone(),
            heads,
            buckets: self.buckets.clone(),
            scale: 1.0 / ((size * terms) as f32).sqrt(),
            dropout: mode.dropout("probabilities", dropout),
        };
        let inputs = BucketedInputs {
            q,
            k,
            v,
            position_keys: position_keys.as_ref(),
            position_queries: position_queries.as_ref(),
            bias: self.bias.as_ref(),
        };
        bucketed_attention(&inputs, scheme, format)
    }
}
