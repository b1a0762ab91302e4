//! Pools each packed sequence into one vector: a weighted sum of its rows, or their maximum.
//!
//! Shapes: `x [T, D]`, `cu_seqlens [B + 1]`, `y [B, D]`; a sequence without tokens gives zeros. With `n` rows, row `i`,
//! counted from 1, has the weight `1 / n` in the mean, `1 / sqrt(n)` in the mean by square root of the length and
//! `i / (1 + ... + n)` in the weighted mean (`Pooling` of sentence-transformers 6.2). Backward: a sum gives each row
//! `dy` times its weight; the maximum gives `dy` to the first row that attains it.

mod cpu;
mod reduction;

use std::sync::Arc;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
pub use reduction::Reduction;

/// Pools the rows of each packed sequence of `x [T, D]`: `[B, D]`.
pub fn segment_pool(x: &Var, cu_seqlens: Arc<[u32]>, reduction: Reduction) -> Result<Var> {
    let (t, d) = x.array().dims2()?;
    let b = cu_seqlens.len().saturating_sub(1);
    if d == 0
        || cu_seqlens.first() != Some(&0)
        || cu_seqlens.last().is_none_or(|&last| last as usize != t)
        || !cu_seqlens.is_sorted()
    {
        return Err(Error::internal(format!("segment pool: got x [{t}, {d}] and sequences {cu_seqlens:?}")));
    }
    let y = cpu::forward(&x.array().values()?, d, &cu_seqlens, reduction);
    let y = Array::new(y, (b, d))?;
    Ok(Var::computed(y.clone(), &[x], SegmentPool { cu_seqlens, reduction, y }))
}

struct SegmentPool {
    cu_seqlens: Arc<[u32]>,
    reduction: Reduction,
    y: Array,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for SegmentPool {
    fn name(&self) -> &'static str {
        "segment pool"
    }

    fn backward(&self, inputs: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let (_, d) = inputs[0].dims2()?;
        let (x, y, dy): (&[f32], &[f32], &[f32]) = (&inputs[0].values()?, &self.y.values()?, &dy.values()?);
        into[0].write(|dx, add| cpu::backward([x, y, dy], d, &self.cu_seqlens, self.reduction, dx, add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::activation::Activation;
    use crate::ops::activation::cpu::activate;

    #[test]
    fn max_and_relu_when_a_value_is_nan_keep_it() -> Result<()> {
        for place in 0..3 {
            let mut rows = [1.0, 2.0, 3.0];
            rows[place] = f32::NAN;
            let x = Var::constant(Array::new(rows.to_vec(), (3, 1))?);
            let y = segment_pool(&x, Arc::from([0, 3]), Reduction::Max)?;
            assert!(y.array().values()?[0].is_nan());
        }
        let mut x = [f32::NAN, -1.0, 2.0];
        activate(Activation::Relu, &mut x);
        assert!(x[0].is_nan() && x[1..] == [0.0, 2.0]);
        Ok(())
    }
}
