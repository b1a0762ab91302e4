//! Attention of new tokens with a key-value cache, for generation, without gradients.
//!
//! For a token at position `i` of its sequence and each head: `o = softmax(q K^T / sqrt(d)) V`, over the keys and
//! values of its span up to and including `i`, with grouped heads and rotary embedding as in [`super::attention`].
//! Shapes: new `q, o [T, heads * d]`, `k, v [T, key_heads * d]`, f32.

mod cpu;
mod step;

use crate::error::{Error, Result};
use cpu::Layer;
pub use step::Step;

/// Key-value cache: keys (after rotary embedding) and values of each sequence, for each layer.
pub struct Cache {
    layers: Vec<Layer>,
    /// Number of cached tokens of each sequence.
    lengths: Vec<usize>,
}

impl Cache {
    /// An empty cache for this many layers and sequences.
    pub fn new(layers: usize, sequences: usize) -> Self {
        let none = vec![Vec::new(); sequences];
        let layer = Layer { keys: none.clone(), values: none };
        Self { layers: vec![layer; layers], lengths: vec![0; sequences] }
    }

    /// Number of cached tokens of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Keeps only these sequences; the indices must be increasing.
    pub fn keep(&mut self, sequences: &[usize]) {
        let mut at = 0;
        let mut kept: Vec<bool> = vec![false; self.lengths.len()];
        for &sequence in sequences {
            kept[sequence] = true;
        }
        self.lengths.retain(|_| {
            at += 1;
            kept[at - 1]
        });
        for layer in &mut self.layers {
            for rows in [&mut layer.keys, &mut layer.values] {
                let mut kept = kept.iter();
                rows.retain(|_| kept.next().copied().unwrap_or(false));
            }
        }
    }

    /// Adds the new tokens to the lengths, once all layers have appended them.
    pub fn advance(&mut self, cu_seqlens: &[u32]) {
        for (length, w) in self.lengths.iter_mut().zip(cu_seqlens.windows(2)) {
            *length += (w[1] - w[0]) as usize;
        }
    }

    /// Appends keys and values `[T, key_heads * size]` of new tokens to a layer.
    pub fn append(&mut self, layer: usize, k: &[f32], v: &[f32], step: &Step) -> Result<()> {
        let Some(layer) = self.layers.get_mut(layer).filter(|layer| layer.keys.len() + 1 == step.cu_seqlens.len())
        else {
            return Err(Error::internal("cache: got another number of layers or sequences"));
        };
        cpu::append(layer, &self.lengths, k, v, step);
        Ok(())
    }

    /// Attention of new tokens to the cached ones and themselves: `[T, heads * size]` to `[T, heads * size]`. Call
    /// [`Cache::append`] first.
    pub fn attend(&self, layer: usize, q: &[f32], step: &Step) -> Vec<f32> {
        cpu::attend(&self.layers[layer], &self.lengths, q, step)
    }
}
