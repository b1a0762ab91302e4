//! Relative attention of XLNet: the parameters of a layer, and what all layers share for a batch: the rows that are
//! queries, the rows that are keys, and the sinusoids of their distances.
//!
//! Tokens to predict are extra rows after the tokens of each sequence: the query stream of two-stream attention (Yang
//! et al. 2019, section 2.3). Within a layer only the mask distinguishes them.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::Config;
use super::layers::{Linear, Map};
use super::memory::{Memory, check_starts};
use super::mode::Mode;
use super::parameters::Parameters;
use super::spec::Spec;
use crate::array::Array;
use crate::autograd::Var;
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::matmul::Format;
use crate::ops::cached_attention::Cache;
use crate::ops::embedding::stacked_rows;
use crate::ops::relative_attention::{Permutation, Relations, RelativeInputs, RelativeScheme, relative_attention};

/// Optional inputs of a pass beside its batch.
#[derive(Clone, Default)]
pub struct Context {
    pub memory: Option<Memory>,
    pub prediction: Option<Prediction>,
    /// Keys and values of the preceding tokens, for generation.
    pub cache: Option<Arc<Mutex<Cache>>>,
}

/// Tokens to predict, and the attention mask between tokens.
#[derive(Clone)]
pub struct Prediction {
    /// Positions of the tokens to predict, each within its sequence, `[P]`.
    pub positions: Arc<[u32]>,
    /// Offsets of the sequences' predictions, with the end, `[B + 1]`.
    pub cu_seqlens: Arc<[u32]>,
    /// Attention masks of the sequences, `[n, n]` for `n` tokens, concatenated: true where the row's token may not
    /// attend to the column's. A token always attends to itself; a prediction does not attend to its own token if the
    /// mask hides it.
    pub hidden: Arc<[bool]>,
}

/// The rows of tokens and predictions in a pass with a context.
pub struct Rows {
    /// Row of each token, `[T]`.
    pub tokens: Arc<[u32]>,
    /// Row of each prediction, `[P]`.
    pub predictions: Arc<[u32]>,
}

impl Rows {
    /// Row of each sequence's first token, `[B]`.
    pub fn first_tokens(&self, batch: &PackedBatch) -> Vec<u32> {
        // The last rows may be predictions; an empty sequence at the end begins after them.
        let end = (self.tokens.len() + self.predictions.len()) as u32;
        batch.first_tokens().iter().map(|&token| self.tokens.get(token as usize).copied().unwrap_or(end)).collect()
    }
}

impl Context {
    /// The rows of a pass over `batch`: for each sequence its tokens, then its predictions.
    pub fn rows(&self, batch: &PackedBatch) -> Result<Rows> {
        let n = batch.cu_seqlens.len();
        let mut rows = (Vec::with_capacity(batch.n_tokens()), Vec::new());
        let none: Arc<[u32]> = vec![0; n].into();
        let starts = self.prediction.as_ref().map_or(&none, |prediction| &prediction.cu_seqlens);
        check_starts("predictions", starts, n, self.prediction.as_ref().map_or(0, |p| p.positions.len()))?;
        for (tokens, predictions) in batch.cu_seqlens.windows(2).zip(starts.windows(2)) {
            rows.0.extend(tokens[0] + predictions[0]..tokens[1] + predictions[0]);
            rows.1.extend(tokens[1] + predictions[0]..tokens[1] + predictions[1]);
        }
        Ok(Rows { tokens: rows.0.into(), predictions: rows.1.into() })
    }
}

/// The inputs of relative attention that all layers of a pass share.
pub(super) struct RelativePass {
    relations: Arc<Relations>,
    farthest: usize,
    /// Sinusoids of each distance, `[R, D]`.
    sinusoids: Var,
    /// Rows of which keys and values are computed, indexing the pass's rows followed by memory; None if they are all
    /// rows of the pass in order.
    keys: Option<Arc<[u32]>>,
    /// Memory of each layer, `[M, D]`.
    memory: Vec<Var>,
}

impl RelativePass {
    pub fn new(
        batch: &PackedBatch,
        context: &Context,
        causal: bool,
        sinusoids: &Sinusoids,
        dropped: impl Fn(Var) -> Result<Var>,
    ) -> Result<Self> {
        let (n, rows) = (batch.cu_seqlens.len(), context.rows(batch)?);
        let none = Memory { hidden: Vec::new(), cu_seqlens: vec![0; n].into() };
        let memory = context.memory.as_ref().unwrap_or(&none);
        let remembered = memory.hidden.first().map_or(Ok(0), |hidden| hidden.dims2().map(|(rows, _)| rows))?;
        check_starts("memory", &memory.cu_seqlens, n, remembered)?;
        let n_rows = rows.tokens.len() + rows.predictions.len();
        let (mut keys, mut key_segments, mut key_starts) = (Vec::new(), Vec::new(), vec![0]);
        for (tokens, memory) in batch.cu_seqlens.windows(2).zip(memory.cu_seqlens.windows(2)) {
            let tokens = tokens[0] as usize..tokens[1] as usize;
            keys.extend((memory[0]..memory[1]).map(|row| n_rows as u32 + row));
            keys.extend_from_slice(&rows.tokens[tokens.clone()]);
            // Memory counts as segment 0, as in transformers.
            key_segments.resize(key_segments.len() + (memory[1] - memory[0]) as usize, 0);
            key_segments.extend_from_slice(&batch.segments[tokens]);
            key_starts.push(keys.len() as u32);
        }
        let mut queries = vec![(0, 0, true); n_rows];
        for (token, &row) in rows.tokens.iter().enumerate() {
            queries[row as usize] = (batch.positions[token], batch.segments[token], true);
        }
        let mut query_starts: Vec<u32> = batch.cu_seqlens.to_vec();
        if let Some(prediction) = &context.prediction {
            for (i, w) in prediction.cu_seqlens.windows(2).enumerate() {
                for p in w[0] as usize..w[1] as usize {
                    let position = prediction.positions[p];
                    let token = batch.cu_seqlens[i] + position;
                    let segment = batch.segments.get(token as usize).copied().unwrap_or(0);
                    queries[rows.predictions[p] as usize] = (position, segment, false);
                }
                query_starts[i + 1] += w[1];
            }
        }
        let permutation = context.prediction.as_ref().map(|prediction| Permutation {
            hidden: prediction.hidden.clone(),
            sees_itself: queries.iter().map(|query| query.2).collect(),
        });
        let in_order = keys.len() == n_rows && keys.iter().enumerate().all(|(i, &key)| key as usize == i);
        let relations = Arc::new(Relations {
            query_starts: query_starts.into(),
            positions: queries.iter().map(|query| query.0).collect(),
            query_segments: queries.iter().map(|query| query.1).collect(),
            key_starts: key_starts.into(),
            memory: memory.cu_seqlens.windows(2).map(|w| w[1] - w[0]).collect(),
            key_segments: key_segments.into(),
            causal,
            permutation,
        });
        let (farthest, ahead) = relations.reach();
        Ok(Self {
            relations,
            farthest,
            sinusoids: dropped(Var::constant(sinusoids.of(farthest, ahead)?))?,
            keys: (!in_order).then(|| keys.into()),
            memory: memory.hidden.iter().cloned().map(Var::constant).collect(),
        })
    }

    /// The inputs of keys and values in layer `i`: memory and the token rows of `x`, without the predictions.
    pub fn key_rows(&self, x: &Var, i: usize) -> Result<Var> {
        let Some(rows) = &self.keys else { return Ok(x.clone()) };
        let tables: Vec<&Var> = std::iter::once(x).chain(self.memory.get(i)).collect();
        stacked_rows(&tables, rows.clone())
    }
}

/// Sinusoids of distances, cached for the longest distance seen so far: `sin(distance * f_j)`, then `cos`, with
/// `f_j = 10000^(-2 j / D)` (Vaswani et al. 2017, side by side as in Transformer-XL).
pub(super) struct Sinusoids {
    width: usize,
    /// Distances are clipped to this.
    longest: Option<usize>,
    /// The largest distance, and the rows from it down to its negative.
    table: Mutex<Option<(usize, Array)>>,
}

impl Sinusoids {
    pub fn new(width: usize, longest: Option<usize>) -> Self {
        Self { width, longest, table: Mutex::default() }
    }

    /// Sinusoids of the distances `farthest` down to `-ahead`: `[farthest + ahead + 1, width]`.
    fn of(&self, farthest: usize, ahead: usize) -> Result<Array> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, rows) = match table.take() {
            Some((made, rows)) if made >= farthest.max(ahead) => (made, rows),
            _ => {
                let made = farthest.max(ahead).next_power_of_two();
                (made, self.make(made)?)
            }
        };
        *table = Some((made, rows.clone()));
        rows.rows(made - farthest, farthest + ahead + 1)
    }

    fn make(&self, reach: usize) -> Result<Array> {
        let (n, pairs) = (2 * reach + 1, self.width / 2);
        let longest = self.longest.map_or(f64::INFINITY, |longest| longest as f64);
        let mut rows = Vec::with_capacity(n * self.width);
        for row in 0..n {
            let distance = (reach as f64 - row as f64).clamp(-longest, longest);
            let angle = |j: usize| distance * 10000f64.powf(-2.0 * j as f64 / self.width as f64);
            rows.extend((0..pairs).map(|j| angle(j).sin() as f32));
            rows.extend((0..pairs).map(|j| angle(j).cos() as f32));
        }
        Array::new(rows, (n, self.width))
    }
}

/// The parameters of relative attention in a layer beside the projections of queries, keys, values and output.
pub(super) struct Relative {
    distances: Linear,
    word_bias: Var,
    distance_bias: Var,
    segment_bias: Var,
    segments: Var,
}

const BIASES: [&str; 3] = ["r_w_bias", "r_r_bias", "r_s_bias"];

impl Relative {
    fn distances(config: &Config, layer: &str) -> Map {
        let options = &config.attention;
        let init = config.initializer.init(config.initializer.std);
        let name = format!("{layer}.{}.r", config.family.names.relative);
        Map::to_heads(name, config.hidden_size, [options.heads, options.head_size], init)
    }

    /// The parameters of the layer with the prefix `layer`.
    pub fn specs(config: &Config, layer: &str, specs: &mut Vec<Spec>) {
        Self::distances(config, layer).specs(specs);
        let (heads, size) = (config.attention.heads, config.attention.head_size);
        let init = config.initializer.init(config.initializer.std);
        let name = |end: &str| format!("{layer}.{}.{end}", config.family.names.relative);
        specs.extend(BIASES.map(|bias| Spec::new(name(bias), &[heads, size], init)));
        specs.push(Spec::new(name("seg_embed"), &[2, heads, size], init));
    }

    pub fn load(params: &Parameters, config: &Config, layer: &str, format: Format) -> Result<Self> {
        let get = |end: &str| params.value(&format!("{layer}.{}.{end}", config.family.names.relative)).cloned();
        let [word_bias, distance_bias, segment_bias] = BIASES.map(get);
        Ok(Self {
            distances: Linear::load(params, &Self::distances(config, layer), None, format)?,
            word_bias: word_bias?,
            distance_bias: distance_bias?,
            segment_bias: segment_bias?,
            segments: get("seg_embed")?,
        })
    }

    /// Attention of all heads, from queries, keys and values: `[rows, heads * head_size]`.
    pub fn attend(
        &self,
        [q, k, v]: [&Var; 3],
        relating: &RelativePass,
        heads: usize,
        (dropout, mode): (f64, Mode),
        format: Format,
    ) -> Result<Var> {
        let scheme = RelativeScheme {
            relations: relating.relations.clone(),
            heads,
            farthest: relating.farthest,
            dropout: mode.dropout("probabilities", dropout),
        };
        let inputs = RelativeInputs {
            q,
            k,
            v,
            r: &self.distances.forward(&relating.sinusoids)?,
            word_bias: &self.word_bias,
            distance_bias: &self.distance_bias,
            segment_bias: &self.segment_bias,
            segments: &self.segments,
        };
        relative_attention(&inputs, scheme, format)
    }
}
