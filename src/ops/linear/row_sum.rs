//! Sums of few rows, added to the rows of a large product while those are in the cache: they read and write no memory of
//! their own.

use crate::compute::simd::vectorised;

/// A sum over `r` rows that is added to each row of a product: `y[t] += sum over i of factors[t, i] * rows[i]`.
pub(super) struct RowSum<'a> {
    /// `[T, r]`
    pub factors: &'a [f32],
    /// `[r, N]`
    pub rows: &'a [f32],
    /// `r` and `N`.
    pub shape: [usize; 2],
}

impl RowSum<'_> {
    /// Adds the sum to `y`, a piece of row `t` from `column` on.
    pub(super) fn add_to(&self, y: &mut [f32], t: usize, column: usize) {
        let [rank, n] = self.shape;
        if rank > 0 {
            add_rows(y, &self.factors[t * rank..][..rank], &self.rows[column..], n);
        }
    }
}

/// Values that are summed in registers: four vectors of 16.
const WIDTH: usize = 64;

vectorised! {
    /// `y += sum over i of factors[i] * rows[i]`; row `i` begins at `rows[i * stride]`.
    fn add_rows(y: &mut [f32], factors: &[f32], rows: &[f32], stride: usize) {
        let whole = y.len() / WIDTH * WIDTH;
        let (blocks, rest) = y.split_at_mut(whole);
        for (block, y) in blocks.chunks_exact_mut(WIDTH).enumerate() {
            let mut sum = [0f32; WIDTH];
            sum.copy_from_slice(y);
            for (i, factor) in factors.iter().enumerate() {
                let row = &rows[i * stride + block * WIDTH..][..WIDTH];
                for (s, r) in sum.iter_mut().zip(row) {
                    *s = r.mul_add(*factor, *s);
                }
            }
            y.copy_from_slice(&sum);
        }
        for (i, factor) in factors.iter().enumerate() {
            for (y, r) in rest.iter_mut().zip(&rows[i * stride + whole..]) {
                *y = r.mul_add(*factor, *y);
            }
        }
    }
}

vectorised! {
    /// `values *= factors`
    pub(super) fn multiply(values: &mut [f32], factors: &[f32]) {
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}
