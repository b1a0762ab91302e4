//! Activation functions, usually fused into [`super::linear`].
//!
//! `gelu(x) = x/2 (1 + erf(x / sqrt 2))`, `gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (Hendrycks and
//! Gimpel 2016), `silu(x) = x / (1 + exp(-x))` (also called swish), `relu`, `tanh`. Shapes: `x, y` of any one shape,
//! f32 or bf16. Backward: `dx = dy f'(x)`.

pub(super) mod cpu;
mod function;

use candle_core::DType;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::StorageDtype;
use crate::error::Result;
pub use function::Activation;

/// `y = f(x)` as an operation of its own; `y` has the dtype of `x`.
pub fn activate(x: &Var, activation: Activation) -> Result<Var> {
    let dtype = if x.array().dtype() == DType::BF16 { StorageDtype::Bf16 } else { StorageDtype::F32 };
    let y = cpu::forward(x.array().operand()?.elements(), activation, dtype);
    Ok(Var::computed(Array::from_buffer(y, x.array().shape())?, &[x], Activate(activation)))
}

struct Activate(Activation);

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn backward(&self, inputs: &[&Array], mut dy: Array, into: &mut [Slot]) -> Result<()> {
        cpu::backward(inputs[0].operand()?.elements(), self.0, dy.values_mut()?);
        into[0].give(dy)
    }
}
