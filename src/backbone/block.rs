//! A transformer layer: attention and a feed-forward net, each with a residual sum, and a norm before or after it.

use std::sync::{Arc, Mutex, PoisonError};

use super::attention_positions::{LayerPositions, PassPositions};
use super::config::{Config, LayerOptions};
use super::distances::Attended;
use super::family::Part;
use super::layers::{Linear, Map, Norm, NormMap};
use super::mode::Mode;
use super::parameters::Parameters;
use super::spec::Spec;
use crate::array::Array;
use crate::autograd::Var;
use crate::compute::{StorageDtype, uninit};
use crate::error::Result;
use crate::matmul::{Format, Precision};
use crate::ops::activation::Activation;
use crate::ops::attention::{Scheme, attention};
use crate::ops::cached_attention::{Cache, Step};
use crate::ops::dropout::dropout;
use crate::ops::gated::gated;

/// Names and shapes of the linear layers and norms of a layer.
struct Maps {
    /// Prefix of the layer's parameter names.
    layer: String,
    query: Map,
    key: Map,
    value: Map,
    query_norm: Option<NormMap>,
    key_norm: Option<NormMap>,
    attention_output: Map,
    attention_norm: Option<NormMap>,
    gate: Option<Map>,
    up: Map,
    down: Map,
    feed_forward_norm: NormMap,
}

impl Maps {
    /// The descriptions for layer `i`.
    fn of(config: &Config, i: usize) -> Self {
        let (names, attention, feed_forward) = (&config.family.names, &config.attention, &config.feed_forward);
        let group = i * config.layer_groups / config.num_hidden_layers.max(1);
        let layer = names.layer.replace("{}", &group.to_string());
        let map = |part, shape, bias, std| {
            Map::of_layer(&layer, part, shape, bias, config.initializer.init(std), names.input_major)
        };
        let (d, f, std) = (config.hidden_size, feed_forward.size, config.initializer.std);
        let (size, init) = (attention.head_size, config.initializer.init(std));
        let project = |part: Part, heads: usize| {
            if names.by_heads {
                return Map::to_heads(format!("{layer}.{}", part.name), d, [heads, size], init);
            }
            map(part, [heads * size, d], attention.bias, std)
        };
        let output = |name, n_in, bias| map(Part::whole(name), [d, n_in], bias, config.initializer.output_std);
        let norm = |name: &str, size| NormMap::new(format!("{layer}.{name}"), size, config);
        let has_first = i > 0 || config.norm.first;
        Self {
            query: project(names.query, attention.heads),
            key: project(names.key, attention.key_heads),
            value: project(names.value, attention.key_heads),
            query_norm: attention.normed.then(|| norm(names.query_norm, attention.head_size)),
            key_norm: attention.normed.then(|| norm(names.key_norm, attention.head_size)),
            attention_output: if names.by_heads {
                Map::of_heads(format!("{layer}.{}", names.attention_output), d, [attention.heads, size], init)
            } else {
                output(names.attention_output, attention.heads * size, attention.output_bias)
            },
            attention_norm: has_first.then(|| norm(names.attention_norm, d)),
            gate: feed_forward.gated.then(|| map(names.gate, [f, d], feed_forward.bias, std)),
            up: map(names.up, [f, d], feed_forward.bias, std),
            down: output(names.down, f, feed_forward.bias),
            feed_forward_norm: norm(names.feed_forward_norm, d),
            layer,
        }
    }

    fn specs(&self, config: &Config, specs: &mut Vec<Spec>) {
        for map in [&self.query, &self.key, &self.value] {
            map.specs(specs);
        }
        self.query_norm.iter().chain(&self.key_norm).for_each(|norm| norm.specs(specs));
        self.attention_output.specs(specs);
        LayerPositions::specs(config, &self.layer, specs);
        self.attention_norm.iter().for_each(|norm| norm.specs(specs));
        self.gate.iter().chain([&self.up, &self.down]).for_each(|map| map.specs(specs));
        self.feed_forward_norm.specs(specs);
    }
}

/// A layer with its parameters.
pub(super) struct Layer {
    attention: Attention,
    attention_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
    norms_before: bool,
    attention_dropout: f64,
    feed_forward_dropout: f64,
}

impl Layer {
    /// The parameters of layer `i`.
    pub fn specs(config: &Config, i: usize, specs: &mut Vec<Spec>) {
        Maps::of(config, i).specs(config, specs);
    }

    /// Layer `i`, from parameters.
    pub fn load(params: &Parameters, config: &Config, i: usize, precision: Precision) -> Result<Self> {
        let maps = Maps::of(config, i);
        let norm = |map: &NormMap| Norm::load(params, map, config);
        Ok(Self {
            attention: Attention::load(params, config, &maps, config.layers[i], precision)?,
            attention_norm: maps.attention_norm.as_ref().map(norm).transpose()?,
            feed_forward: FeedForward::load(params, config, &maps, precision)?,
            feed_forward_norm: norm(&maps.feed_forward_norm)?,
            norms_before: config.norm.before,
            attention_dropout: config.attention.output_dropout,
            feed_forward_dropout: config.feed_forward.dropout,
        })
    }

    /// Maps hidden states `[T, D]` to those of the next layer, `[T, D]`.
    pub fn forward(&self, x: &Var, sequences: &Sequences, mode: Mode) -> Result<Var> {
        let attention_dropout = mode.dropout("attention output", self.attention_dropout);
        let output_dropout = mode.dropout("output", self.feed_forward_dropout);
        if self.norms_before {
            let normed = self.attention_norm.as_ref().map(|norm| norm.forward(x)).transpose()?;
            let attended = self.attention.forward(normed.as_ref().unwrap_or(x), sequences, mode)?;
            let x = self.attention.output.add_to(x, &attended, attention_dropout)?;
            let inner = self.feed_forward.inner(&self.feed_forward_norm.forward(&x)?, mode)?;
            return self.feed_forward.down.add_to(&x, &inner, output_dropout);
        }
        let attended = self.attention.output.forward(&self.attention.forward(x, sequences, mode)?)?;
        let x = match &self.attention_norm {
            Some(norm) => &norm.residual(&attended, x, attention_dropout)?,
            None => x,
        };
        let fed = self.feed_forward.down.forward(&self.feed_forward.inner(x, mode)?)?;
        self.feed_forward_norm.residual(&fed, x, output_dropout)
    }
}

/// The sequences of a batch, as attention needs them.
#[derive(Clone)]
pub(super) struct Sequences {
    pub cu_seqlens: Arc<[u32]>,
    pub positions: PassPositions,
    /// Cache of keys and values of the preceding tokens; those of the current tokens are appended.
    pub cache: Option<Arc<Mutex<Cache>>>,
    /// Index of the layer.
    pub layer: usize,
}

struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    positions: LayerPositions,
    output: Linear,
    heads: usize,
    key_heads: usize,
    options: LayerOptions,
    dropout: f64,
    /// Format of the attention output.
    operand: Format,
}

impl Attention {
    fn load(
        params: &Parameters,
        config: &Config,
        maps: &Maps,
        options: LayerOptions,
        precision: Precision,
    ) -> Result<Self> {
        // Queries, keys and values enter further products in bf16 unless everything is f32; those that are normalised
        // first stay in f32.
        let narrow = if precision == Precision::F32 { StorageDtype::F32 } else { StorageDtype::Bf16 };
        let linear = |map: &Map, result| Linear::load(params, map, None, Format { precision, result });
        let normed = if config.attention.normed { StorageDtype::F32 } else { narrow };
        let norm = |map: &Option<NormMap>| map.as_ref().map(|map| Norm::load(params, map, config)).transpose();
        Ok(Self {
            query: linear(&maps.query, normed)?,
            key: linear(&maps.key, normed)?,
            value: linear(&maps.value, narrow)?,
            query_norm: norm(&maps.query_norm)?,
            key_norm: norm(&maps.key_norm)?,
            positions: LayerPositions::load(params, config, &maps.layer, Format { precision, result: narrow })?,
            output: linear(&maps.attention_output, StorageDtype::F32)?,
            heads: config.attention.heads,
            key_heads: config.attention.key_heads,
            options,
            dropout: config.attention.dropout,
            operand: format(precision),
        })
    }

    /// Attention of `x [T, D]` without the output projection: `[T, heads * head_size]`.
    fn forward(&self, x: &Var, sequences: &Sequences, mode: Mode) -> Result<Var> {
        let normed = |norm: &Option<Norm>, x: Var| norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x));
        if let (LayerPositions::TransformerXl(relative), PassPositions::TransformerXl(relating)) =
            (&self.positions, &sequences.positions)
        {
            let source = relating.key_rows(x, sequences.layer)?;
            let (q, k, v) = (self.query.forward(x)?, self.key.forward(&source)?, self.value.forward(&source)?);
            return relative.attend([&q, &k, &v], relating, self.heads, (self.dropout, mode), self.operand);
        }
        let q = normed(&self.query_norm, self.query.forward(x)?)?;
        let k = normed(&self.key_norm, self.key.forward(x)?)?;
        let v = self.value.forward(x)?;
        if let PassPositions::Distances(pass) = &sequences.positions {
            let maps = match &self.positions {
                LayerPositions::Disentangled(maps) => Some(&**maps),
                _ => None,
            };
            let attended = Attended { q: &q, k: &k, v: &v, maps: [&self.query, &self.key] };
            let sequences = (&sequences.cu_seqlens, self.heads);
            return pass.attend(&attended, maps, sequences, (self.dropout, mode), self.operand);
        }
        let rotary = sequences.positions.rotary(self.options.rotary)?;
        if let Some(cache) = &sequences.cache {
            let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = cache.lengths().iter().all(|&length| length == 0);
            let step = Step {
                cu_seqlens: &sequences.cu_seqlens,
                heads: self.heads,
                key_heads: self.key_heads,
                span: self.options.span,
                rotary: rotary.map(|rotary| &**rotary),
            };
            cache.append(sequences.layer, &wide(&k)?, &wide(&v)?, &step)?;
            if !begins {
                let attended = cache.attend(sequences.layer, &wide(&q)?, &step);
                return Ok(Var::constant(Array::new(attended, q.array().shape())?));
            }
        }
        let scheme = Scheme {
            cu_seqlens: sequences.cu_seqlens.clone(),
            heads: self.heads,
            key_heads: self.key_heads,
            span: self.options.span,
            rotary: rotary.cloned(),
            dropout: mode.dropout("probabilities", self.dropout),
        };
        attention(&q, &k, &v, scheme, self.operand)
    }
}

struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
    dropout: f64,
    operand: Format,
}

impl FeedForward {
    fn load(params: &Parameters, config: &Config, maps: &Maps, precision: Precision) -> Result<Self> {
        let (activation, operand) = (config.feed_forward.activation, format(precision));
        let linear = |map: &Map, activation| Linear::load(params, map, activation, operand);
        Ok(Self {
            gate: maps.gate.as_ref().map(|gate| linear(gate, None)).transpose()?,
            up: linear(&maps.up, maps.gate.is_none().then_some(activation))?,
            down: Linear::load(params, &maps.down, None, precision)?,
            activation,
            dropout: config.feed_forward.inner_dropout,
            operand,
        })
    }

    /// Activations `[T, F]` before the last linear layer.
    fn inner(&self, x: &Var, mode: Mode) -> Result<Var> {
        let up = self.up.forward(x)?;
        let inner = match &self.gate {
            Some(gate) => gated(&gate.forward(x)?, &up, self.activation, self.operand.result)?,
            None => up,
        };
        match mode.dropout("feed-forward", self.dropout) {
            Some(p) => dropout(&inner, p),
            None => Ok(inner),
        }
    }
}

/// A copy of the values as f32.
fn wide(x: &Var) -> Result<Vec<f32>> {
    let x = x.array().operand()?;
    // SAFETY: all are copied.
    let mut out = unsafe { uninit(x.elements().len()) };
    x.elements().copy_to(&mut out);
    Ok(out)
}

/// The format of values that only linear layers read: bf16 if products are in bf16, else f32.
fn format(precision: Precision) -> Format {
    let result = if precision == Precision::Bf16 { StorageDtype::Bf16 } else { StorageDtype::F32 };
    Format { precision, result }
}
