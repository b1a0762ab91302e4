//! Embeds texts: pooled hidden states of a frozen encoder.

use super::finite::check_finite;
use super::mode::Mode;
use super::parameters::Parameters;
use super::pooling::Pooling;
use super::pretrained::Backbone;
use super::sentence::{SentenceMaps, normalize_rows};
use crate::autograd::Var;
use crate::batch::{PackedBatch, in_order_of_length};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::ops::columns::side_by_side;
use crate::text::Encodings;

/// The vectors that represent a text, side by side.
#[derive(Debug, Clone, PartialEq)]
pub enum Vectors {
    /// Hidden states of layers, each pooled in each of these ways. Layer 0 is the embedding output.
    Layers { layers: Vec<usize>, pooling: Vec<Pooling> },
    /// Sentence vectors: last hidden states through the modules of the model directory, without the final
    /// normalisation.
    Sentence,
}

impl Backbone {
    /// The number of values of a text's vector.
    pub fn vector_size(&self, vectors: &Vectors) -> usize {
        let d = self.config.hidden_size;
        match vectors {
            Vectors::Layers { layers, pooling } => d * layers.len() * pooling.len(),
            Vectors::Sentence => self.config.sentence.as_ref().map_or(d, |modules| modules.width(d)),
        }
    }

    /// Embeddings of texts, row-major `[N, vector_size]` in input order; `normalize` divides each row by its length.
    /// `progress` gets the number of tokens done and may stop the work.
    pub fn embed(
        &self,
        encodings: &Encodings,
        vectors: &Vectors,
        normalize: bool,
        precision: Precision,
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let n_layers = self.config.num_hidden_layers;
        let (layers, pooling) = match vectors {
            Vectors::Layers { layers, pooling } => (layers.clone(), pooling.clone()),
            Vectors::Sentence => (vec![n_layers], self.default_pooling()),
        };
        let Some(&top) = layers.iter().max().filter(|&&top| top <= n_layers && !pooling.is_empty()) else {
            return Err(Error::Value(format!(
                "layers {layers:?} pooled by {pooling:?}: expected at least one of each, layers from 0 to {n_layers}"
            )));
        };
        let encoder = self.encoder(precision)?;
        let maps = match vectors {
            Vectors::Layers { .. } => None,
            Vectors::Sentence => Some(SentenceMaps::load(&self.params, &self.config)?),
        };
        let forward = |batch: &PackedBatch| {
            let mut pooled: Vec<Option<Var>> = vec![None; layers.len()];
            encoder.forward_through(batch, top, Mode::inference(), &mut |layer, hidden| {
                for (pooled, _) in pooled.iter_mut().zip(&layers).filter(|(_, wanted)| **wanted == layer) {
                    *pooled = Some(Pooling::join(&pooling, hidden, batch)?);
                }
                Ok(())
            })?;
            let joined = side_by_side(&pooled.into_iter().flatten().collect::<Vec<_>>())?;
            let Some(maps) = &maps else { return Ok(joined) };
            // Checked before, because the dense layers (e.g. tanh) may turn infinite values into finite ones.
            check_finite(&joined.array().values()?, || self.params.clone())?;
            maps.forward(&joined)
        };
        let columns = self.vector_size(vectors);
        let mut rows = collect_rows(encodings, batch_tokens, (columns, &self.params), &forward, progress)?;
        if normalize {
            normalize_rows(&mut rows, columns);
        }
        Ok(rows)
    }
}

/// Run `forward` over batches of texts of similar length and put its rows `[B, columns]` back in input order:
/// `[N, columns]`. Rows that are not finite are an error, which names the parameters at fault.
pub fn collect_rows(
    encodings: &Encodings,
    batch_tokens: usize,
    (columns, params): (usize, &Parameters),
    forward: &(dyn Fn(&PackedBatch) -> Result<Var> + Sync),
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let mut rows = vec![0f32; encodings.n_items() * columns];
    let mut done = 0;
    for examples in in_order_of_length(&encodings.lengths(), batch_tokens) {
        let batch = PackedBatch::collate(encodings, examples);
        let out = in_pool(|| forward(&batch))?;
        let out = out.array().values()?;
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
