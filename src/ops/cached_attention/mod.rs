//! Attention of a few new tokens to keys and values that are kept: generation, without gradients.
//!
//! For a token at position `i` of its sequence and each head: `o = softmax(q K^T / sqrt(d)) V`, of the keys and values of its
//! span up to its own, grouped and turned as in [`super::attention`]. Shapes: new `q, o [T, heads * d]`,
//! `k, v [T, key_heads * d]`, f32.

mod cpu;
mod step;

use crate::error::{Error, Result};
use cpu::Layer;
pub use step::Step;

/// Keys, turned by their positions, and values of the tokens of some sequences, for each layer.
pub struct Cache {
    layers: Vec<Layer>,
    /// Tokens of each sequence.
    lengths: Vec<usize>,
}

impl Cache {
    /// Of as many sequences, nothing yet.
    pub fn new(layers: usize, sequences: usize) -> Self {
        let none = vec![Vec::new(); sequences];
        let layer = Layer { keys: none.clone(), values: none };
        Self { layers: vec![layer; layers], lengths: vec![0; sequences] }
    }

    /// Tokens of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Keep these sequences alone, in this order, which rises.
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

    /// Count new tokens of each sequence, once all layers have them.
    pub fn advance(&mut self, cu_seqlens: &[u32]) {
        for (length, w) in self.lengths.iter_mut().zip(cu_seqlens.windows(2)) {
            *length += (w[1] - w[0]) as usize;
        }
    }

    /// Take up keys and values `[T, key_heads * size]` of new tokens in a layer.
    pub fn append(&mut self, layer: usize, k: &[f32], v: &[f32], step: &Step) -> Result<()> {
        let Some(layer) = self.layers.get_mut(layer).filter(|layer| layer.keys.len() + 1 == step.cu_seqlens.len())
        else {
            return Err(Error::internal("cache: got another number of layers or sequences"));
        };
        cpu::append(layer, &self.lengths, k, v, step);
        Ok(())
    }

    /// What new tokens see, themselves included: queries `[T, heads * size]` to `[T, heads * size]`. Their keys and values have
    /// been appended.
    pub fn attend(&self, layer: usize, q: &[f32], step: &Step) -> Vec<f32> {
        cpu::attend(&self.layers[layer], &self.lengths, q, step)
    }
}
