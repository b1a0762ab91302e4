//! BERT (Devlin et al. 2018) on packed sequences; parameter names of `transformers.BertModel` (5.x).
//!
//! Embeddings are the norm of word + position + segment; a layer is attention and a feed-forward net, each followed by
//! dropout, residual and norm.

use std::sync::Arc;

use super::config::Config;
use super::layers::{Linear, Norm, linear_specs, norm_specs};
use super::mode::Mode;
use super::parameters::{Init, Parameters, Spec};
use crate::autograd::{Value, checkpoint};
use crate::batch::PackedBatch;
use crate::compute::Storing;
use crate::error::Result;
use crate::kernels::attention::{Scheme, Span, attention};
use crate::kernels::dropout::dropout;
use crate::kernels::embedding::embedding_sum;
use crate::product::{Format, Precision};

/// A BERT encoder.
pub struct Bert {
    embeddings: Embeddings,
    layers: Vec<Arc<Layer>>,
}

impl Bert {
    /// The parameters a configuration asks for, the pooler not among them.
    pub fn specs(config: &Config) -> Vec<Spec> {
        let (d, std) = (config.hidden_size, config.initializer_range);
        let mut specs = Vec::new();
        let mut weight = |name: &str, shape: &[usize]| specs.push(Spec::new(name, shape, Init::Normal(std)));
        weight("embeddings.word_embeddings.weight", &[config.vocab_size, d]);
        weight("embeddings.position_embeddings.weight", &[config.max_position_embeddings, d]);
        weight("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, d]);
        norm_specs(&mut specs, "embeddings.LayerNorm", d);
        for i in 0..config.num_hidden_layers {
            let at = |part: &str| format!("encoder.layer.{i}.{part}");
            for part in ["query", "key", "value"] {
                linear_specs(&mut specs, &at(&format!("attention.self.{part}")), d, d, std);
            }
            linear_specs(&mut specs, &at("attention.output.dense"), d, d, std);
            norm_specs(&mut specs, &at("attention.output.LayerNorm"), d);
            linear_specs(&mut specs, &at("intermediate.dense"), config.intermediate_size, d, std);
            linear_specs(&mut specs, &at("output.dense"), d, config.intermediate_size, std);
            norm_specs(&mut specs, &at("output.LayerNorm"), d);
        }
        specs
    }

    /// From parameters; those that are trained receive gradients. Products are computed in `precision`.
    pub fn load(params: &Parameters, config: &Config, precision: Precision) -> Result<Self> {
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(params, &format!("encoder.layer.{i}"), config, precision).map(Arc::new));
        Ok(Self { embeddings: Embeddings::load(params, config)?, layers: layers.collect::<Result<_>>()? })
    }

    /// Hidden states `[T, D]` after `n_layers` layers; 0 is the embedding output.
    pub fn forward(&self, batch: &PackedBatch, n_layers: usize, mode: Mode) -> Result<Value> {
        self.forward_through(batch, n_layers, mode, &mut |_, _| Ok(()))
    }

    /// As [`Bert::forward`]; `on_layer` sees every hidden state on the way, from 0 to `n_layers`.
    pub fn forward_through(
        &self,
        batch: &PackedBatch,
        n_layers: usize,
        mode: Mode,
        on_layer: &mut dyn FnMut(usize, &Value) -> Result<()>,
    ) -> Result<Value> {
        let mut hidden = self.embeddings.forward(batch, mode)?;
        on_layer(0, &hidden)?;
        for (i, layer) in self.layers.iter().take(n_layers).enumerate() {
            let (layer, mode, cu_seqlens) = (layer.clone(), mode.layer(i), batch.cu_seqlens.clone());
            hidden = if mode.recomputes() {
                checkpoint(&[&hidden], move |x| layer.forward(&x[0], &cu_seqlens, mode))?
            } else {
                layer.forward(&hidden, &cu_seqlens, mode)?
            };
            on_layer(i + 1, &hidden)?;
        }
        Ok(hidden)
    }
}

/// How far up a parameter lies: 0 embeddings, i + 1 layer i, n + 1 what comes after.
pub(crate) fn depth(name: &str, config: &Config) -> usize {
    if name.starts_with("embeddings.") {
        return 0;
    }
    let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    layer.map_or(config.num_hidden_layers + 1, |i| i + 1)
}

struct Embeddings {
    word: Value,
    position: Value,
    segment: Value,
    norm: Norm,
    dropout: f64,
}

impl Embeddings {
    fn load(params: &Parameters, config: &Config) -> Result<Self> {
        let table = |name: &str| params.value(&format!("embeddings.{name}_embeddings.weight")).cloned();
        Ok(Self {
            word: table("word")?,
            position: table("position")?,
            segment: table("token_type")?,
            norm: Norm::load(params, "embeddings.LayerNorm", config.layer_norm_eps)?,
            dropout: config.hidden_dropout_prob,
        })
    }

    fn forward(&self, batch: &PackedBatch, mode: Mode) -> Result<Value> {
        let sum = embedding_sum([
            (&self.word, batch.ids.clone()),
            (&self.position, batch.positions.clone()),
            (&self.segment, batch.segments.clone()),
        ])?; // [T, D]
        let normed = self.norm.forward(&sum)?;
        match mode.dropout("embeddings", self.dropout) {
            Some(p) => dropout(&normed, p),
            None => Ok(normed),
        }
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
    heads: usize,
    attention_dropout: f64,
    hidden_dropout: f64,
    /// Of what attention makes.
    operand: Format,
}

impl Layer {
    fn load(params: &Parameters, name: &str, config: &Config, precision: Precision) -> Result<Self> {
        // Queries, keys and values meet again in products of bf16 unless all is f32; what linear maps take, in bf16 alone.
        let attention =
            Format { precision, result: if precision == Precision::F32 { Storing::F32 } else { Storing::Bf16 } };
        let operand =
            Format { precision, result: if precision == Precision::Bf16 { Storing::Bf16 } else { Storing::F32 } };
        let linear =
            |part: &str, activation, format| Linear::load(params, &format!("{name}.{part}"), activation, format);
        let norm = |part: &str| Norm::load(params, &format!("{name}.{part}"), config.layer_norm_eps);
        Ok(Self {
            query: linear("attention.self.query", None, attention)?,
            key: linear("attention.self.key", None, attention)?,
            value: linear("attention.self.value", None, attention)?,
            attention_output: linear("attention.output.dense", None, precision.into())?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense", Some(config.hidden_act), operand)?,
            output: linear("output.dense", None, precision.into())?,
            output_norm: norm("output.LayerNorm")?,
            heads: config.num_attention_heads,
            attention_dropout: config.attention_probs_dropout_prob,
            hidden_dropout: config.hidden_dropout_prob,
            operand,
        })
    }

    fn forward(&self, x: &Value, cu_seqlens: &Arc<[u32]>, mode: Mode) -> Result<Value> {
        let dropout = |place: &str| mode.dropout(place, self.hidden_dropout);
        let (q, k, v) = (self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?); // [T, D]
        let probabilities = mode.dropout("probabilities", self.attention_dropout);
        let (heads, dropout_) = (self.heads, probabilities);
        let scheme = Scheme {
            heads,
            key_heads: heads,
            dropout: dropout_,
            cu_seqlens: cu_seqlens.clone(),
            span: Span::ALL,
            rotary: None,
        };
        let attended = attention(&q, &k, &v, scheme, self.operand)?;
        let attended = self.attention_output.forward(&attended)?;
        let x = self.attention_norm.residual(&attended, x, dropout("attention output"))?;
        let fed = self.output.forward(&self.intermediate.forward(&x)?)?;
        self.output_norm.residual(&fed, &x, dropout("output"))
    }
}
