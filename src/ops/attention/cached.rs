//! Attention of a few new tokens to keys and values that are kept: generation, without gradients.

use rayon::prelude::*;

use super::scheme::Span;
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::error::{Error, Result};
use crate::ops::rotary::Rotary;

/// Keys, turned by their positions, and values of the tokens of some sequences, for each layer.
pub struct Cache {
    layers: Vec<Layer>,
    /// Tokens of each sequence.
    lengths: Vec<usize>,
}

/// `[tokens, key_heads * size]` of each sequence.
#[derive(Clone, Default)]
struct Layer {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// New tokens of each sequence, and how they attend.
pub struct Step<'a> {
    /// Where the new tokens of each sequence begin, and the end, `[B + 1]`.
    pub cu_seqlens: &'a [u32],
    pub heads: usize,
    pub key_heads: usize,
    pub span: Span,
    pub rotary: Option<&'a Rotary>,
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
        let tokens = step.cu_seqlens.last().map_or(0, |&end| end as usize);
        let width = k.len().checked_div(tokens).unwrap_or(0);
        let Some(layer) = self.layers.get_mut(layer).filter(|layer| layer.keys.len() + 1 == step.cu_seqlens.len())
        else {
            return Err(Error::internal("cache: got another number of layers or sequences"));
        };
        for (i, w) in step.cu_seqlens.windows(2).enumerate() {
            let rows = w[0] as usize * width..w[1] as usize * width;
            let begun = layer.keys[i].len();
            layer.keys[i].extend_from_slice(&k[rows.clone()]);
            layer.values[i].extend_from_slice(&v[rows]);
            if let Some(rotary) = step.rotary {
                let size = width / step.key_heads;
                for (row, token) in layer.keys[i][begun..].chunks_exact_mut(width).enumerate() {
                    token.chunks_exact_mut(size).for_each(|head| rotary.turn_row(self.lengths[i] + row, head));
                }
            }
        }
        Ok(())
    }

    /// What new tokens see, themselves included: queries `[T, heads * size]` to `[T, heads * size]`. Their keys and values have
    /// been appended.
    pub fn attend(&self, layer: usize, q: &[f32], step: &Step) -> Vec<f32> {
        let tokens = step.cu_seqlens.last().map_or(0, |&end| end as usize);
        let width = q.len().checked_div(tokens).unwrap_or(0);
        let (size, group) = (width / step.heads, step.heads / step.key_heads);
        let layer = &self.layers[layer];
        let sequence = |token: usize| step.cu_seqlens.partition_point(|&start| start as usize <= token) - 1;
        let mut out = vec![0f32; q.len()];
        // A task is the heads of one token that share keys.
        out.par_chunks_exact_mut(group * size).enumerate().for_each(|(task, out)| {
            let (token, key_head) = (task / step.key_heads, task % step.key_heads);
            let i = sequence(token);
            let position = self.lengths[i] + token - step.cu_seqlens[i] as usize;
            let seen = step.span.keys(position, 1, position + 1);
            let (keys, values) = (&layer.keys[i], &layer.values[i]);
            let stride = step.key_heads * size;
            let row = |rows: &[f32], t: usize| -> std::ops::Range<usize> {
                debug_assert!(t * stride < rows.len());
                t * stride + key_head * size..t * stride + (key_head + 1) * size
            };
            let mut scores = vec![0f32; seen.len()];
            for (head, out) in out.chunks_exact_mut(size).enumerate() {
                let first = token * width + (key_head * group + head) * size;
                let mut query = q[first..first + size].to_vec();
                if let Some(rotary) = step.rotary {
                    rotary.turn_row(position, &mut query);
                }
                let scale = 1.0 / (size as f32).sqrt();
                for (score, t) in scores.iter_mut().zip(seen.clone()) {
                    *score = scale * dot(&query, &keys[row(keys, t)]);
                }
                let max = math::max(&scores, |x| x);
                let sum = math::map_sum(&mut scores, |x| math::exp_small(x - max));
                for (score, t) in scores.iter().zip(seen.clone()) {
                    add_scaled(out, score / sum, &values[row(values, t)]);
                }
            }
        });
        out
    }
}

vectorised! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        math::sum2(a, b, |a, b| a * b)
    }
}

vectorised! {
    fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
    }
}
