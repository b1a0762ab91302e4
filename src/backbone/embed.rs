//! From texts to vectors: hidden states of a frozen encoder, pooled.

use candle_core::Tensor;

use super::finite::check_finite;
use super::mode::Mode;
use super::parameters::Parameters;
use super::pretrained::Backbone;
use crate::autograd::Value;
use crate::batch::{PackedBatch, in_order_of_length};
use crate::compute::{in_pool, values};
use crate::error::{Error, Result};
use crate::kernels::embedding::embedding;
use crate::kernels::segment_pool::{Reduction, segment_pool};
use crate::product::Precision;
use crate::text::Encodings;

/// How a text's token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Over every token, special ones included.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    Last,
    Max,
    /// Not one: the first token of each word.
    Words,
}

impl Pooling {
    /// By its name: mean, cls, last or max.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            "last" => Ok(Self::Last),
            "max" => Ok(Self::Max),
            _ => Err(Error::Value(format!("pooling={name:?}: expected \"mean\", \"cls\", \"last\" or \"max\""))),
        }
    }

    /// What the `1_Pooling/config.json` of a sentence-transformers model asks for: `pooling_mode` (6.x), or flags (before). The
    /// error is of a way that is not one of these, or of several, whose vectors it would join.
    pub(super) fn of_sentence_transformers(config: &serde_json::Value) -> std::result::Result<Self, String> {
        use serde_json::Value as Json;
        let fields = config.as_object().ok_or("expected an object")?;
        let flag = |(key, value): (&String, &Json)| {
            let name = key.strip_prefix("pooling_mode_").filter(|_| *value == Json::Bool(true))?;
            Some(name.trim_end_matches("_token").trim_end_matches("_tokens").to_string())
        };
        let asked: Vec<String> = match fields.get("pooling_mode") {
            None => fields.iter().filter_map(flag).collect(),
            Some(Json::String(name)) => vec![name.clone()],
            Some(Json::Array(names)) => names.iter().map(|name| name.as_str().unwrap_or("?").to_string()).collect(),
            Some(other) => return Err(format!("pooling_mode is {other}; expected a string")),
        };
        match asked.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] | ["mean"] => Ok(Self::Mean),
            ["cls"] => Ok(Self::Cls),
            ["max"] => Ok(Self::Max),
            ["lasttoken"] => Ok(Self::Last),
            _ => Err(format!("asks for {}; supported: one of mean, cls, max, lasttoken", asked.join(" and "))),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Max => "max",
            Self::Words => "words",
        }
    }

    /// Hidden states `[T, D]` to `[B, D]`, or a row for each word.
    pub fn apply(self, hidden: &Value, batch: &PackedBatch) -> Result<Value> {
        match self {
            Self::Mean => segment_pool(hidden, batch.cu_seqlens.clone(), Reduction::Mean),
            Self::Max => segment_pool(hidden, batch.cu_seqlens.clone(), Reduction::Max),
            Self::Cls => embedding(hidden, batch.first_tokens()),
            Self::Last => embedding(hidden, batch.last_tokens()),
            Self::Words => embedding(hidden, batch.words.clone()),
        }
    }
}

impl Backbone {
    /// Pooled hidden states of `layers`, side by side: row-major `[N, k * D]` in input order. Layer 0 is the embedding output.
    /// `progress` gets the number of tokens done and may stop the work.
    pub fn embed(
        &self,
        encodings: &Encodings,
        layers: &[usize],
        pooling: Pooling,
        precision: Precision,
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let n_layers = self.config.num_hidden_layers;
        let Some(&top) = layers.iter().max().filter(|&&top| top <= n_layers) else {
            return Err(Error::Value(format!("layers {layers:?}: expected at least one, from 0 to {n_layers}")));
        };
        let encoder = self.encoder(precision)?;
        let forward = |batch: &PackedBatch| {
            let mut pooled: Vec<Option<Tensor>> = vec![None; layers.len()];
            encoder.forward_through(batch, top, Mode::inference(), &mut |layer, hidden| {
                for (pooled, _) in pooled.iter_mut().zip(layers).filter(|(_, wanted)| **wanted == layer) {
                    *pooled = Some(pooling.apply(hidden, batch)?.tensor().clone());
                }
                Ok(())
            })?;
            Ok(Value::constant(Tensor::cat(&pooled.into_iter().flatten().collect::<Vec<_>>(), 1)?))
        };
        collect_rows(
            encodings,
            batch_tokens,
            (self.config.hidden_size * layers.len(), &self.params),
            &forward,
            progress,
        )
    }
}

/// Run `forward` over batches of similar length and put its rows `[B, columns]` back in input order: `[N, columns]`. Rows that
/// are not finite are an error, which names the parameters at fault.
pub fn collect_rows(
    encodings: &Encodings,
    batch_tokens: usize,
    (columns, params): (usize, &Parameters),
    forward: &(dyn Fn(&PackedBatch) -> Result<Value> + Sync),
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let mut rows = vec![0f32; encodings.n_items() * columns];
    let mut done = 0;
    for examples in in_order_of_length(&encodings.lengths(), batch_tokens) {
        let batch = PackedBatch::collate(encodings, examples);
        let out = in_pool(|| forward(&batch))?;
        let out = values(out.tensor())?;
        check_finite(&out, || params.clone())?;
        let items = batch.examples.iter().flat_map(|&example| encodings.items(example));
        for (item, row) in items.zip(out.chunks_exact(columns.max(1))) {
            rows[item * columns..][..columns].copy_from_slice(row);
        }
        done += batch.n_tokens();
        progress(done)?;
    }
    Ok(rows)
}
