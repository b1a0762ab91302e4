//! Attention with a key-value cache, on the CPU.

use rayon::prelude::*;

use super::step::Step;
use crate::compute::math;
use crate::compute::simd::vectorised;

/// Cached keys (after rotary embedding) and values of one layer, `[tokens, key_heads * size]` for each sequence.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub keys: Vec<Vec<f32>>,
    pub values: Vec<Vec<f32>>,
}

/// Appends keys and values `[T, key_heads * size]` of new tokens; `lengths` are the cached tokens of each sequence.
pub(super) fn append(layer: &mut Layer, lengths: &[usize], k: &[f32], v: &[f32], step: &Step) {
    let width = k.len().checked_div(step.tokens()).unwrap_or(0);
    for (i, w) in step.cu_seqlens.windows(2).enumerate() {
        let rows = w[0] as usize * width..w[1] as usize * width;
        let begun = layer.keys[i].len();
        layer.keys[i].extend_from_slice(&k[rows.clone()]);
        layer.values[i].extend_from_slice(&v[rows]);
        if let Some(rotary) = step.rotary {
            let size = width / step.key_heads;
            for (row, token) in layer.keys[i][begun..].chunks_exact_mut(width).enumerate() {
                token.chunks_exact_mut(size).for_each(|head| rotary.rotate_row(lengths[i] + row, head));
            }
        }
    }
}

/// Attention of new tokens to the cached ones and themselves: queries `[T, heads * size]` to outputs of the same shape.
/// Call `append` first; `lengths` are the tokens of each sequence before the new ones.
pub(super) fn attend(layer: &Layer, lengths: &[usize], q: &[f32], step: &Step) -> Vec<f32> {
    let tokens = step.tokens();
    let width = q.len().checked_div(tokens).unwrap_or(0);
    let (size, group) = (width / step.heads, step.heads / step.key_heads);
    let sequence = |token: usize| step.cu_seqlens.partition_point(|&start| start as usize <= token) - 1;
    let mut out = vec![0f32; q.len()];
    // A task is the group of query heads of one token that share a key head.
    out.par_chunks_exact_mut(group * size).enumerate().for_each(|(task, out)| {
        let (token, key_head) = (task / step.key_heads, task % step.key_heads);
        let i = sequence(token);
        let position = lengths[i] + token - step.cu_seqlens[i] as usize;
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
                rotary.rotate_row(position, &mut query);
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
