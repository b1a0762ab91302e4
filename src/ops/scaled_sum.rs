//! `y = a + scale * b`, of one shape, each f32 or bf16. Backward: `da = dy`, `db = scale * dy`.

use rayon::prelude::*;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::{Buffer, CHUNK, Storing, for_chunks};
use crate::error::{Error, Result};

/// Values held in f32 between the steps.
const PIECE: usize = 1024;

/// `a + scale * b`.
pub fn scaled_sum(a: &Value, b: &Value, scale: f32, result: Storing) -> Result<Value> {
    let shape = a.array().shape();
    if b.array().shape() != shape {
        return Err(Error::internal(format!("scaled sum: got {shape:?} and {:?}", b.array().shape())));
    }
    let n = shape.elem_count();
    // SAFETY: every piece is written.
    let mut y = unsafe { Buffer::uninit(result, n) };
    {
        let (a, b) = (a.array().operand()?, b.array().operand()?);
        let (a, b, y) = (a.elements(), b.elements(), y.shared());
        (0..n.div_ceil(PIECE)).into_par_iter().with_min_len(CHUNK / PIECE).for_each(|piece| {
            let range = piece * PIECE..n.min((piece + 1) * PIECE);
            let (sum, term) = (&mut [0f32; PIECE][..range.len()], &mut [0f32; PIECE][..range.len()]);
            a.range(range.clone()).copy_to(sum);
            b.range(range.clone()).copy_to(term);
            sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += scale * *term);
            // SAFETY: each piece is written once.
            unsafe { y.copy_from(range.start, sum) };
        });
    }
    Ok(Value::computed(Array::from_buffer(y, shape)?, &[a, b], ScaledSum(scale)))
}

struct ScaledSum(f32);

// SAFETY: what is not added to is written, all of it.
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
            for_chunks(scaled.values_mut()?, CHUNK, |_, values| values.iter_mut().for_each(|x| *x *= self.0));
            db.give(scaled)?;
        }
        da.give(dy)
    }
}
