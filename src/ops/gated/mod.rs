//! Product of an activated gate with another value, `y = f(gate) * up`, as in gated linear units (Shazeer 2020: SwiGLU
//! with SiLU, GEGLU with GELU).
//!
//! Shapes: `gate, up, y [.., F]`, each f32 or bf16. Backward: `dgate = dy up f'(gate)`, `dup = dy f(gate)`.

mod cpu;

use super::activation::Activation;
use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::StorageDtype;
use crate::error::{Error, Result};

/// `activation(gate) * up`, each of shape `[.., F]`.
pub fn gated(gate: &Var, up: &Var, activation: Activation, result: StorageDtype) -> Result<Var> {
    let shape = gate.array().shape();
    if up.array().shape() != shape {
        return Err(Error::internal(format!("gated: got {shape:?} and {:?}", up.array().shape())));
    }
    let y = {
        let (gate, up) = (gate.array().operand()?, up.array().operand()?);
        cpu::forward(gate.elements(), up.elements(), activation, result)
    };
    Ok(Var::computed(Array::from_buffer(y, shape)?, &[gate, up], Gated(activation)))
}

struct Gated(Activation);

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn backward(&self, inputs: &[&Array], mut dy: Array, into: &mut [Slot]) -> Result<()> {
        let (&[gate, up], [dgate, dup]) = (inputs, into) else {
            return Err(Error::internal("got other than two inputs"));
        };
        let (gate, up) = (gate.operand()?, up.operand()?);
        if dup.wanted() {
            let mut gradient = dy.copy()?;
            cpu::up_gradient(gate.elements(), self.0, gradient.values_mut()?);
            dup.give(gradient)?;
        }
        if dgate.wanted() {
            cpu::gate_gradient(gate.elements(), up.elements(), self.0, dy.values_mut()?);
        }
        dgate.give(dy)
    }
}
