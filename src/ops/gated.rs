//! The product of an activated value with another, `y = f(gate) * up`, as in gated linear units (Shazeer 2020: SwiGLU with
//! SiLU, GEGLU with GELU).
//!
//! Shapes: `gate, up, y [.., F]`, each f32 or bf16. Backward: `dgate = dy up f'(gate)`, `dup = dy f(gate)`.

use rayon::prelude::*;

use super::activation::Activation;
use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, CHUNK, Elements, Storing, for_chunks};
use crate::error::{Error, Result};

/// Values held in f32 between the steps.
const PIECE: usize = 1024;

/// `activation(gate) * up`: `[.., F]` each.
pub fn gated(gate: &Value, up: &Value, activation: Activation, result: Storing) -> Result<Value> {
    let shape = gate.array().shape();
    if up.array().shape() != shape {
        return Err(Error::internal(format!("gated: got {shape:?} and {:?}", up.array().shape())));
    }
    let n = shape.elem_count();
    // SAFETY: every piece is written.
    let mut y = unsafe { Buffer::uninit(result, n) };
    {
        let (gate, up) = (gate.array().operand()?, up.array().operand()?);
        let (gate, up, y) = (gate.elements(), up.elements(), y.shared());
        (0..n.div_ceil(PIECE)).into_par_iter().with_min_len(CHUNK / PIECE).for_each(|piece| {
            let range = piece * PIECE..n.min((piece + 1) * PIECE);
            let activated = &mut [0f32; PIECE][..range.len()];
            gate.range(range.clone()).copy_to(activated);
            activation.forward(activated);
            multiply(activated, up.range(range.clone()));
            // SAFETY: each piece is written once.
            unsafe { y.copy_from(range.start, activated) };
        });
    }
    Ok(Value::computed(Array::from_buffer(y, shape)?, &[gate, up], Gated(activation)))
}

struct Gated(Activation);

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn backward(&self, inputs: &[&Array], mut dy: Array, into: &mut [Slot]) -> Result<()> {
        let (&[gate, up], [dgate, dup]) = (inputs, into) else {
            return Err(Error::internal("got other than two inputs"));
        };
        let (gate, up) = (gate.operand()?, up.operand()?);
        let (gate, up) = (gate.elements(), up.elements());
        if dup.wanted() {
            let mut gradient = dy.copy()?;
            for_chunks(gradient.values_mut()?, PIECE, |start, dup| {
                let gate = gate.range(start..start + dup.len());
                let activated = &mut [0f32; PIECE][..dup.len()];
                gate.copy_to(activated);
                self.0.forward(activated);
                multiply(dup, (&*activated).into());
            });
            dup.give(gradient)?;
        }
        if dgate.wanted() {
            for_chunks(dy.values_mut()?, PIECE, |start, dgate| {
                let range = start..start + dgate.len();
                multiply(dgate, up.range(range.clone()));
                self.0.backward(gate.range(range), dgate);
            });
        }
        dgate.give(dy)
    }
}

/// `x *= factor`, for values of equal number.
fn multiply(x: &mut [f32], factor: Elements) {
    factor.for_pieces(|start, factor| multiply_piece(&mut x[start..start + factor.len()], factor));
}

vectorised! {
    fn multiply_piece(x: &mut [f32], factor: &[f32]) {
        x.iter_mut().zip(factor).for_each(|(x, factor)| *x *= factor);
    }
}
