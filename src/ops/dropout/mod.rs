//! Dropout `y = x * mask / (1 - p)`. The mask is a function of a random key and the element's index; it is recomputed
//! in the backward pass and never stored.
//!
//! Shapes: `x, y` of any shape, f32 or bf16. Backward: `dx = dy * mask / (1 - p)`.

pub(super) mod cpu;
mod mask;

use candle_core::DType;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::StorageDtype;
use crate::error::Result;
pub use mask::Dropout;

/// Applies dropout; `y` has the shape and dtype of `x`, f32 or bf16.
pub fn dropout(x: &Var, dropout: Dropout) -> Result<Var> {
    let dtype = if x.array().dtype() == DType::BF16 { StorageDtype::Bf16 } else { StorageDtype::F32 };
    let out = cpu::forward(x.array().operand()?.elements(), &dropout, dtype);
    Ok(Var::computed(Array::from_buffer(out, x.array().shape())?, &[x], dropout))
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(&self, _: &[&Array], mut gradient: Array, into: &mut [Slot]) -> Result<()> {
        cpu::mask_all(self, gradient.values_mut()?);
        into[0].give(gradient)
    }
}
