//! `y = a + scale * b`, all of the same shape, each f32 or bf16. Backward: `da = dy`, `db = scale * dy`.

mod cpu;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::StorageDtype;
use crate::error::{Error, Result};

/// `a + scale * b`.
pub fn scaled_sum(a: &Var, b: &Var, scale: f32, result: StorageDtype) -> Result<Var> {
    let shape = a.array().shape();
    if b.array().shape() != shape {
        return Err(Error::internal(format!("scaled sum: got {shape:?} and {:?}", b.array().shape())));
    }
    let y = {
        let (a, b) = (a.array().operand()?, b.array().operand()?);
        cpu::forward(a.elements(), b.elements(), scale, result)
    };
    Ok(Var::computed(Array::from_buffer(y, shape)?, &[a, b], ScaledSum(scale)))
}

struct ScaledSum(f32);

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for ScaledSum {
    fn name(&self) -> &'static str {
        "scaled sum"
    }

    fn backward(&self, _: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let [da, db] = into else {
            return Err(Error::internal("got other than two inputs"));
        };
        if db.wanted() {
            let mut scaled = dy.copy()?;
            cpu::scale(scaled.values_mut()?, self.0);
            db.give(scaled)?;
        }
        da.give(dy)
    }
}
