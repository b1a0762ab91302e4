//! Attention over packed sequences with relative position terms in the scores: the disentangled attention of DeBERTa
//! (He et al. 2021), and the relative position biases of T5 (Raffel et al. 2020), which MPNet (Song et al. 2020) also
//! has.
//!
//! For each sequence and head, with `r_ij` the table row (bucket) of the distance `i - j` from query to key:
//! `S_ij = scale * (q_i . k_j + q_i . position_keys[r_ij] + k_j . position_queries[r_ij]) + bias[r_ij]`, where each of
//! the last three terms is optional; `P = softmax(S)`, `O = dropout(P) V`.
//!
//! Each query and key is multiplied once with all table rows its sequence uses, and scores look these products up by
//! distance. Backward, with `dS` as in [`super::attention`], the gradient of each product is the sum over the scores
//! that use it.

mod buckets;
mod cpu;
mod operands;
mod scheme;

use crate::array::{Array, Operand};
use crate::autograd::{Op, Slot, Var};
use crate::error::Result;
use crate::matmul::{Format, Precision};
pub use buckets::Buckets;
use operands::{Inputs, Terms, read};
pub use scheme::BucketedScheme;
use scheme::Shapes;

/// Inputs of the attention.
pub struct BucketedInputs<'a> {
    /// Queries `[T, H * d]`, f32 or bf16, as are `k` and `v`.
    pub q: &'a Var,
    pub k: &'a Var,
    pub v: &'a Var,
    /// Relative position keys, multiplied with queries, `[R, H * d]`, f32 or bf16.
    pub position_keys: Option<&'a Var>,
    /// Relative position queries, multiplied with keys, `[R, H * d]`, f32 or bf16.
    pub position_queries: Option<&'a Var>,
    /// Relative position bias, `[R, H]`.
    pub bias: Option<&'a Var>,
}

/// Computes the attention output `[T, H * d]`. Returns an error if shapes do not fit or a distance has no table row.
pub fn bucketed_attention(inputs: &BucketedInputs, scheme: BucketedScheme, format: impl Into<Format>) -> Result<Var> {
    let Format { precision, result } = format.into();
    let BucketedInputs { q, k, v, position_keys, position_queries, bias } = *inputs;
    let terms = Terms {
        position_keys: position_keys.is_some(),
        position_queries: position_queries.is_some(),
        bias: bias.is_some(),
    };
    let all: Vec<&Var> = [q, k, v].into_iter().chain(position_keys).chain(position_queries).chain(bias).collect();
    let arrays: Vec<&Array> = all.iter().map(|value| value.array()).collect();
    scheme.check(&shapes(terms, &arrays)?)?;
    let (out, log_sum_exp) = {
        let read = read(&arrays)?;
        let operands = Inputs::of(terms, &read)?.map(Operand::elements);
        // SAFETY: the shapes were checked.
        unsafe { cpu::Kernel { scheme: &scheme, precision }.forward(&operands, result) }
    };
    let op = BucketedAttention { scheme, precision, terms, log_sum_exp };
    Ok(Var::computed(Array::from_buffer(out, q.array().shape())?, &all, op))
}

fn shapes(terms: Terms, arrays: &[&Array]) -> Result<Shapes> {
    let shapes = arrays.iter().map(|array| array.dims2()).collect::<Result<Vec<_>>>()?;
    let Inputs { qkv, position_keys, position_queries, bias } = Inputs::of(terms, shapes)?;
    Ok(Shapes { qkv, position_keys, position_queries, bias })
}

struct BucketedAttention {
    scheme: BucketedScheme,
    precision: Precision,
    terms: Terms,
    /// Log-sum-exp of each row of scores, `[H, T]`.
    log_sum_exp: Vec<f32>,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for BucketedAttention {
    fn name(&self) -> &'static str {
        "attention with terms by distance"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        self.scheme.check(&shapes(self.terms, inputs)?)?;
        let (read, gradient) = (read(inputs)?, gradient.values()?);
        let operands = Inputs::of(self.terms, &read)?.map(Operand::elements);
        let slots = into.iter_mut().map(Slot::open).collect::<Result<Vec<_>>>()?;
        let kernel = cpu::Kernel { scheme: &self.scheme, precision: self.precision };
        // SAFETY: the shapes were checked.
        unsafe { kernel.backward(&operands, &self.log_sum_exp, &gradient, Inputs::of(self.terms, slots)?) };
        Ok(())
    }
}
