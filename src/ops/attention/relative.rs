//! Attention with relative positions and segments over packed sequences: that of XLNet (Yang et al. 2019), with the positions
//! of Transformer-XL (Dai et al. 2019).
//!
//! For each sequence and head, with `f_ij` the distance from query `i` back to key `j`, and `s_ij` 1 where they are of
//! different segments, else 0:
//! `S_ij = ((q_i + r_w) . k_j + (q_i + r_r) . r[f_ij] + (q_i + r_s) . seg_embed[s_ij]) / sqrt(d)`,
//! `P = softmax(S)` over the keys that a query sees, `O = dropout(P) V`; a query that sees none gets zeros.
//!
//! Scores by distance are one product of a block's queries with the rows of `r` that it needs, of which each query reads a
//! stretch of its own: distances fall from key to key. Softmax does not see what all of a row share, so of the segments the
//! difference of the two rows counts, where they differ. The backward's `dS` is that of [`super::attention`]; a task there is
//! a head, which meets its sequences in order, since they share `r`, the biases and `seg_embed`.

use rayon::prelude::*;

use super::Gradient;
use super::relations::{Relations, Sequence};
use super::relative_task::{Operands, RelativeAttention, SharedSums};
use super::scheme::Head;
use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::{Buffer, SharedSlice, uninit};
use crate::error::{Error, Result};
use crate::ops::dropout::Dropout;
use crate::product::Format;

/// How queries, keys and distances relate.
#[derive(Clone)]
pub struct RelativeScheme {
    pub relations: std::sync::Arc<Relations>,
    pub heads: usize,
    /// The distance of the first row of `r`; the following rows are one less each.
    pub farthest: usize,
    pub dropout: Option<Dropout>,
}

/// What attention meets.
pub struct RelativeInputs<'a> {
    /// `[Tq, H * d]`, f32 or bf16, as `k` and `v`.
    pub q: &'a Value,
    /// `[Tk, H * d]`
    pub k: &'a Value,
    /// `[Tk, H * d]`
    pub v: &'a Value,
    /// Of the distances, `[R, H * d]`, f32 or bf16.
    pub r: &'a Value,
    /// Added to queries where they meet keys, distances and segments, `[H, d]` each.
    pub word_bias: &'a Value,
    pub distance_bias: &'a Value,
    pub segment_bias: &'a Value,
    /// Of equal and of different segments, `[2, H, d]`.
    pub segments: &'a Value,
}

/// Attention to `[Tq, H * d]`. Shapes that do not fit are an error, and distances without a row in `r`.
pub fn relative_attention(inputs: &RelativeInputs, scheme: RelativeScheme, format: impl Into<Format>) -> Result<Value> {
    let Format { precision, result } = format.into();
    let RelativeInputs { q, k, v, r, word_bias, distance_bias, segment_bias, segments } = inputs;
    let inputs = [*q, k, v, r, word_bias, distance_bias, segment_bias, segments];
    let arrays = inputs.map(Value::array);
    let sequences = scheme.check(arrays)?;
    let (queries, width) = q.array().dims2()?;
    // SAFETY: there is a task for each head of each sequence, and it writes their queries.
    let (mut out, mut lse) = unsafe { (Buffer::uninit(result, queries * width), uninit(queries * scheme.heads)) };
    let mut kernel = RelativeAttention { scheme, precision, sequences, log_sum_exp: Vec::new() };
    {
        let read = arrays.iter().map(|array| array.operand()).collect::<Result<Vec<_>>>()?;
        let operands = Operands::new(&read)?;
        let (out, lse) = (out.shared(), SharedSlice::new(&mut lse));
        let heads = 0..kernel.scheme.heads;
        let tasks: Vec<_> = kernel.sequences.iter().flat_map(|s| heads.clone().map(move |head| (s, head))).collect();
        tasks.into_par_iter().for_each(|(sequence, head)| kernel.forward_task(sequence, head, &operands, out, lse));
    }
    kernel.log_sum_exp = lse;
    Ok(Value::computed(Array::from_buffer(out, (queries, width))?, &inputs, kernel))
}

impl RelativeScheme {
    fn check(&self, arrays: [&Array; 8]) -> Result<Vec<Sequence>> {
        let [q, k, v, r, biases @ .., segments] = arrays;
        let [q, k, v, r] = [q.dims2()?, k.dims2()?, v.dims2()?, r.dims2()?];
        let size = q.1.checked_div(self.heads).unwrap_or(0);
        let width = self.heads * size;
        let fit = biases.iter().all(|bias| bias.elem_count() == width) && segments.elem_count() == 2 * width;
        if size == 0 || [q.1, k.1, r.1] != [width; 3] || v != k || !fit {
            return Err(Error::internal(format!(
                "relative attention: got q, k, v, r of {q:?}, {k:?}, {v:?}, {r:?}, {} heads, biases and segments of {:?}",
                self.heads,
                [biases[0], biases[1], biases[2], segments].map(Array::elem_count)
            )));
        }
        let sequences = self.relations.sequences(q.0, k.0)?;
        let (back, ahead) = self.relations.reach();
        if k.0 > 0 && (self.farthest < back || self.farthest + ahead >= r.0) {
            return Err(Error::internal(format!(
                "relative attention: got rows for {} distances from {} on, keys lie from {back} behind to {ahead} ahead",
                r.0, self.farthest
            )));
        }
        Ok(sequences)
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for RelativeAttention {
    fn name(&self) -> &'static str {
        "relative attention"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let read = inputs.iter().map(|array| array.operand()).collect::<Result<Vec<_>>>()?;
        let operands = Operands::new(&read)?;
        let (width, n_distances) = (operands.segment.len(), inputs[3].dims2()?.0);
        let size = width / self.scheme.heads;
        let gradient = gradient.values()?;
        let open = |slot| Ok(Slot::open(slot)?.map(|(values, add)| (SharedSlice::new(values), add)));
        let slots = into.iter_mut().map(open).collect::<Result<Vec<Gradient>>>()?;
        let &[dq, dk, dv, dr, d_word, d_distance, d_segment_bias, d_segments] = slots.as_slice() else {
            return Err(Error::internal("got other than eight inputs"));
        };
        (0..self.scheme.heads).into_par_iter().for_each(|head| {
            let zeros = || vec![0.0; size];
            let mut shared = SharedSums {
                r: vec![0.0; dr.map_or(0, |_| n_distances * size)],
                word_bias: zeros(),
                distance_bias: zeros(),
                segment_bias: zeros(),
                segment: zeros(),
            };
            for sequence in &self.sequences {
                self.backward_task(sequence, head, &operands, &gradient, [dq, dk, dv], &mut shared);
            }
            let own = |first| Head { first, len: 1, index: head, size, width };
            let give = |gradient: Gradient, first, values: &[f32]| {
                if let Some(gradient) = gradient {
                    // SAFETY: a task writes its own head alone.
                    let rows = unsafe { own(first).part(gradient) };
                    values.chunks_exact(size).enumerate().for_each(|(i, values)| rows.put(i, values));
                }
            };
            give(dr, 0, &shared.r);
            give(d_word, 0, &shared.word_bias);
            give(d_distance, 0, &shared.distance_bias);
            give(d_segment_bias, 0, &shared.segment_bias);
            give(d_segments, 1, &shared.segment);
            give(d_segments, 0, &shared.segment.iter().map(|x| -x).collect::<Vec<_>>());
        });
        Ok(())
    }
}
