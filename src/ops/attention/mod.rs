//! Variable-length scaled dot-product attention over packed sequences.
//!
//! For each sequence and head: `P = softmax(Q K^T / sqrt(d))`, `O = dropout(P) V`, where a query sees the keys of its
//! span, and rotary embedding may be applied to `Q` and `K`. A task is one key head of one sequence, with the query
//! heads that share it; it holds the scores of one block of queries at a time, over the keys that the block sees. The
//! op keeps the log-sum-exp of each row and recomputes `P` in the backward pass (FlashAttention, Dao et al. 2022):
//! `dV = dropout(P)^T dO`, `dP = dropout(dO V^T)`, `dS = P (dP - rowsum(P dP))`, `dQ = dS K / sqrt(d)`,
//! `dK = dS^T Q / sqrt(d)`. The backward pass also rotates `Q` and `K` again, and rotates `dQ` and `dK` back.

mod cpu;
pub(super) mod head;
mod rotary;
mod scheme;
pub(super) mod scratch;
pub(super) mod softmax;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
use crate::matmul::{Format, Precision};
pub use rotary::Rotary;
pub use scheme::{Scheme, Span};

/// Attention within each packed sequence: `q [T, heads * d]`, `k, v [T, key_heads * d]` to `[T, heads * d]`, each f32
/// or bf16.
pub fn attention(q: &Var, k: &Var, v: &Var, scheme: Scheme, format: impl Into<Format>) -> Result<Var> {
    let Format { precision, result } = format.into();
    scheme.check(shapes([q, k, v].map(Var::array))?)?;
    let (t, width) = q.array().dims2()?;
    let (out, log_sum_exp) = {
        let (q, k, v) = (q.array().operand()?, k.array().operand()?, v.array().operand()?);
        let kernel = cpu::Kernel { scheme: &scheme, precision };
        // SAFETY: the shapes were checked.
        unsafe { kernel.forward([q.elements(), k.elements(), v.elements()], t, result) }
    };
    let op = Attention { scheme, precision, log_sum_exp };
    Ok(Var::computed(Array::from_buffer(out, (t, width))?, &[q, k, v], op))
}

fn shapes(arrays: [&Array; 3]) -> Result<[(usize, usize); 3]> {
    let [q, k, v] = arrays.map(Array::dims2);
    Ok([q?, k?, v?])
}

struct Attention {
    scheme: Scheme,
    precision: Precision,
    /// Log-sum-exp of each row of scores, `[H, T]`.
    log_sum_exp: Vec<f32>,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let (&[q, k, v], [dq, dk, dv]) = (inputs, into) else {
            return Err(Error::internal("got other than three inputs"));
        };
        self.scheme.check(shapes([q, k, v])?)?;
        let (q, k, v) = (q.operand()?, k.operand()?, v.operand()?);
        let kernel = cpu::Kernel { scheme: &self.scheme, precision: self.precision };
        let operands = [q.elements(), k.elements(), v.elements()];
        let (gradient, gradients) = (gradient.values()?, [dq.open()?, dk.open()?, dv.open()?]);
        // SAFETY: the shapes were checked.
        unsafe { kernel.backward(operands, &self.log_sum_exp, &gradient, gradients) };
        Ok(())
    }
}
