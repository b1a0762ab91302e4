//! Attention with relative positions and segments over packed sequences, as in XLNet (Yang et al. 2019), with the
//! relative positions of Transformer-XL (Dai et al. 2019).
//!
//! For each sequence and head, with `f_ij` the distance from query `i` back to key `j`, and `s_ij` 1 if they are in
//! different segments, otherwise 0:
//! `S_ij = ((q_i + r_w) . k_j + (q_i + r_r) . r[f_ij] + (q_i + r_s) . seg_embed[s_ij]) / sqrt(d)`, `P = softmax(S)`
//! over the keys that a query sees, `O = dropout(P) V`. The output of a query that sees no key is zero.
//!
//! Scores by distance are one product of a block's queries with the rows of `r` that it needs; each query reads its own
//! contiguous range of it, because distances fall from key to key (relative shift). Softmax is invariant to a constant
//! in a row of scores, so only the difference of the two segment embeddings is used, at keys of a different segment.
//! The backward pass computes `dS` as [`super::attention`] does; the gradients of `r`, the biases and `seg_embed` are
//! sums over all sequences.

mod cpu;
mod operands;
mod relations;
mod scheme;

use crate::array::{Array, Operand};
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
use crate::matmul::{Format, Precision};
use operands::Operands;
use relations::Sequence;
pub use relations::{Permutation, Relations};
pub use scheme::RelativeScheme;

/// Inputs of the attention.
pub struct RelativeInputs<'a> {
    /// Queries `[Tq, H * d]`, f32 or bf16, as are `k` and `v`.
    pub q: &'a Var,
    /// Keys `[Tk, H * d]`.
    pub k: &'a Var,
    /// Values `[Tk, H * d]`.
    pub v: &'a Var,
    /// Projected relative position embeddings, `[R, H * d]`, f32 or bf16.
    pub r: &'a Var,
    /// Biases added to queries before the products with keys, relative positions and segments, `[H, d]` each.
    pub word_bias: &'a Var,
    pub distance_bias: &'a Var,
    pub segment_bias: &'a Var,
    /// Segment embeddings of equal and of different segments, `[2, H, d]`.
    pub segments: &'a Var,
}

/// Computes the attention output `[Tq, H * d]`. Returns an error if shapes do not fit or a distance has no row in `r`.
pub fn relative_attention(inputs: &RelativeInputs, scheme: RelativeScheme, format: impl Into<Format>) -> Result<Var> {
    let Format { precision, result } = format.into();
    let RelativeInputs { q, k, v, r, word_bias, distance_bias, segment_bias, segments } = inputs;
    let inputs = [*q, k, v, r, word_bias, distance_bias, segment_bias, segments];
    let arrays = inputs.map(Var::array);
    let sequences = scheme.check(arrays)?;
    let (out, log_sum_exp) = {
        let read = read(&arrays)?;
        let kernel = cpu::Kernel { scheme: &scheme, sequences: &sequences, precision };
        // SAFETY: the shapes and the sequences were checked.
        unsafe { kernel.forward(&operands(&read)?, result) }
    };
    let op = RelativeAttention { scheme, precision, sequences, log_sum_exp };
    Ok(Var::computed(Array::from_buffer(out, q.array().shape())?, &inputs, op))
}

fn read<'a>(arrays: &[&'a Array]) -> Result<Vec<Operand<'a>>> {
    arrays.iter().map(|array| array.operand()).collect()
}

fn operands<'a>(read: &'a [Operand]) -> Result<Operands<'a>> {
    let read: Vec<_> = read.iter().map(Operand::elements).collect();
    let read = read.try_into().map_err(|_| Error::internal("relative attention: got other than eight inputs"))?;
    Ok(Operands::new(read))
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

struct RelativeAttention {
    scheme: RelativeScheme,
    precision: Precision,
    sequences: Vec<Sequence>,
    /// Log-sum-exp of each row of scores, `[H, Tq]`.
    log_sum_exp: Vec<f32>,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for RelativeAttention {
    fn name(&self) -> &'static str {
        "relative attention"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let (read, gradient) = (read(inputs)?, gradient.values()?);
        let slots = into.iter_mut().map(Slot::open).collect::<Result<Vec<_>>>()?;
        let into = slots.try_into().map_err(|_| Error::internal("got other than eight inputs"))?;
        let kernel = cpu::Kernel { scheme: &self.scheme, sequences: &self.sequences, precision: self.precision };
        // SAFETY: the shapes and the sequences were checked.
        unsafe { kernel.backward(&operands(&read)?, &self.log_sum_exp, &gradient, into) };
        Ok(())
    }
}
