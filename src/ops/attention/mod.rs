//! Variable-length scaled dot-product attention over packed sequences.
//!
//! For each sequence and head: `P = softmax(Q K^T / sqrt(d))`, `O = dropout(P) V`, where a query sees the keys of its span and
//! `Q` and `K` may be turned by their position. A task is one sequence and head of keys, with the heads of queries that use it,
//! and holds the scores of a block of queries and the keys that one of them sees. The op keeps the log-sum-exp of each row and
//! computes `P` again backward (FlashAttention, Dao et al. 2022): `dV = dropout(P)^T dO`, `dP = dropout(dO V^T)`,
//! `dS = P (dP - rowsum(P dP))`, `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`. What is turned is turned again backward,
//! and `dQ` and `dK` back.

mod cpu;
pub(super) mod head;
mod rotary;
mod scheme;
pub(super) mod scratch;
pub(super) mod softmax;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::error::{Error, Result};
use crate::product::{Format, Precision};
pub use rotary::Rotary;
pub use scheme::{Scheme, Span};

/// Attention within each packed sequence: `q [T, heads * d]`, `k, v [T, key_heads * d]` to `[T, heads * d]`; each f32 or bf16.
pub fn attention(q: &Value, k: &Value, v: &Value, scheme: Scheme, format: impl Into<Format>) -> Result<Value> {
    let Format { precision, result } = format.into();
    scheme.check(shapes([q, k, v].map(Value::array))?)?;
    let (t, width) = q.array().dims2()?;
    let (out, log_sum_exp) = {
        let (q, k, v) = (q.array().operand()?, k.array().operand()?, v.array().operand()?);
        let kernel = cpu::Kernel { scheme: &scheme, precision };
        // SAFETY: the shapes were checked.
        unsafe { kernel.forward([q.elements(), k.elements(), v.elements()], t, result) }
    };
    let op = Attention { scheme, precision, log_sum_exp };
    Ok(Value::computed(Array::from_buffer(out, (t, width))?, &[q, k, v], op))
}

fn shapes(arrays: [&Array; 3]) -> Result<[(usize, usize); 3]> {
    let [q, k, v] = arrays.map(Array::dims2);
    Ok([q?, k?, v?])
}

struct Attention {
    scheme: Scheme,
    precision: Precision,
    /// `[H, T]`
    log_sum_exp: Vec<f32>,
}

// SAFETY: what is not added to is written, all of it.
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
