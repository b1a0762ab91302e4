//! Attention over packed sequences whose scores have terms by distance: the disentangled attention of DeBERTa (He et al.
//! 2021), and the biases of T5 (Raffel et al. 2020), which MPNet (Song et al. 2020) has too.
//!
//! For each sequence and head, with `r_ij` the row that the distance `i - j` from query to key has in tables by distance:
//! `S_ij = scale * (q_i . k_j + q_i . position_keys[r_ij] + k_j . position_queries[r_ij]) + bias[r_ij]`, of whose last three
//! terms there may be any; `P = softmax(S)`, `O = dropout(P) V`.
//!
//! Products with the rows that a sequence needs are made once for each query and each key, and read by distance. Backward,
//! with `dS` as in [`super::attention`], the sums over the scores of a row are the gradients of these products.

mod buckets;
mod cpu;
mod operands;
mod scheme;

use crate::array::{Array, Operand};
use crate::autograd::{Op, Slot, Value};
use crate::error::Result;
use crate::product::{Format, Precision};
pub use buckets::Buckets;
use operands::{Inputs, Terms, read};
pub use scheme::BucketedScheme;
use scheme::Shapes;

/// What attention meets.
pub struct BucketedInputs<'a> {
    /// `[T, H * d]`, f32 or bf16, as `k` and `v`.
    pub q: &'a Value,
    pub k: &'a Value,
    pub v: &'a Value,
    /// What queries meet by distance, `[R, H * d]`, f32 or bf16.
    pub position_keys: Option<&'a Value>,
    /// What keys meet by distance, `[R, H * d]`, f32 or bf16.
    pub position_queries: Option<&'a Value>,
    /// `[R, H]`
    pub bias: Option<&'a Value>,
}

/// Attention to `[T, H * d]`. Shapes that do not fit are an error, and distances without a row.
pub fn bucketed_attention(inputs: &BucketedInputs, scheme: BucketedScheme, format: impl Into<Format>) -> Result<Value> {
    let Format { precision, result } = format.into();
    let BucketedInputs { q, k, v, position_keys, position_queries, bias } = *inputs;
    let terms = Terms {
        position_keys: position_keys.is_some(),
        position_queries: position_queries.is_some(),
        bias: bias.is_some(),
    };
    let all: Vec<&Value> = [q, k, v].into_iter().chain(position_keys).chain(position_queries).chain(bias).collect();
    let arrays: Vec<&Array> = all.iter().map(|value| value.array()).collect();
    scheme.check(&shapes(terms, &arrays)?)?;
    let (out, log_sum_exp) = {
        let read = read(&arrays)?;
        let operands = Inputs::of(terms, &read)?.map(Operand::elements);
        // SAFETY: the shapes were checked.
        unsafe { cpu::Kernel { scheme: &scheme, precision }.forward(&operands, result) }
    };
    let op = BucketedAttention { scheme, precision, terms, log_sum_exp };
    Ok(Value::computed(Array::from_buffer(out, q.array().shape())?, &all, op))
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
    /// `[H, T]`
    log_sum_exp: Vec<f32>,
}

// SAFETY: what is not added to is written, all of it.
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
