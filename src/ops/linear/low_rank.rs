//! Low-rank terms of linear layers (Hu et al. 2021): `scale * B (A x)`, with `A [r, K]` and `B [N, r]`.

use super::cpu::{input_gradient, weight_gradient};
use super::row_sum::RowSum;
use crate::array::{Array, Values};
use crate::autograd::{Slot, Var};
use crate::compute::simd::vectorised;
use crate::compute::{Elements, uninit};
use crate::error::{Error, Result};
use crate::matmul::{MatrixView, Output, Packed, Precision, Rhs, matmul};
use crate::ops::affine::{Affine, Part};

/// A term `scale * B (A x)`; neither map has a bias.
pub struct LowRankTerm {
    pub a: Affine,
    pub b: Affine,
    pub scale: f32,
}

/// What a forward pass keeps of a term.
pub(super) struct Kept {
    a: Part,
    b: Part,
    scale: f32,
    /// `A x`, `[T, r]`.
    low: Vec<f32>,
}

impl LowRankTerm {
    pub(super) fn inputs(&self) -> [&Var; 2] {
        [&self.a.weight, &self.b.weight]
    }

    /// Computes `A x` for `x [T, K]`.
    pub(super) fn begin(&self, x: Elements, t: usize, [n, k]: [usize; 2], precision: Precision) -> Result<Kept> {
        let ([rank, columns], [outputs, b_rank]) = (self.a.shape(), self.b.shape());
        if columns != k || outputs != n || b_rank != rank {
            let (a, b) = (self.a.shape(), self.b.shape());
            return Err(Error::internal(format!("linear [{n}, {k}]: got a low-rank term of {a:?} and {b:?}")));
        }
        let weight = self.a.weight.array().values()?;
        let weight = Packed::new(self.a.part.rows(&*weight), precision);
        // SAFETY: the product sets all values.
        let mut low = unsafe { uninit(t * rank) };
        matmul(MatrixView::rows(x, t, k), weight.whole(), Output::new(&mut low, rank, false), |_, _, _| {});
        Ok(Kept { a: self.a.part.clone(), b: self.b.part.clone(), scale: self.scale, low })
    }

    /// The values of `scale * B`, transposed: `[r, N]`.
    pub(super) fn scaled_columns(&self) -> Result<Vec<f32>> {
        let ([n, rank], values) = (self.b.shape(), self.b.weight.array().values()?);
        let rows = self.b.part.rows(&*values);
        let at = |row: usize, column: usize| rows.values.at(row * rows.line_stride + column * rows.depth_stride);
        Ok((0..rank).flat_map(|i| (0..n).map(move |row| (i, row))).map(|(i, row)| self.scale * at(row, i)).collect())
    }
}

impl Kept {
    /// The sum over the rows of `scale * B^T`, `columns [r, N]`.
    pub(super) fn sum<'a>(&'a self, columns: &'a [f32]) -> RowSum<'a> {
        RowSum { factors: &self.low, rows: columns, shape: [self.a.shape()[0], self.b.shape()[0]] }
    }

    /// The gradient of `A x`, `scale * g B`, `[T, r]`, for `g [T, N]`.
    pub(super) fn low_gradient(&self, g: &[f32], b: &[f32], precision: Precision) -> Vec<f32> {
        let mut low = vec![0.0; self.low.len()];
        input_gradient(g, Rhs::new(self.b.columns(b), precision).whole(), &[], &mut low, false);
        scale_all(&mut low, self.scale);
        low
    }

    /// The sum over the rows of `A` that is the term's part of the gradient of `x`.
    pub(super) fn input_sum<'a>(&self, low_gradient: &'a [f32], a: &'a Values) -> RowSum<'a> {
        RowSum { factors: low_gradient, rows: &a[..], shape: self.a.shape() }
    }

    /// Writes the gradients of `A` and `B`.
    pub(super) fn write(
        &self,
        g: &[f32],
        x: Elements,
        low_gradient: &[f32],
        [da, db]: [&mut Slot; 2],
        precision: Precision,
    ) -> Result<()> {
        if da.wanted() {
            da.write(|da, add| weight_gradient(low_gradient, x, &self.a, precision, da, add))?;
        }
        if db.wanted() {
            db.write(|db, add| self.write_b(g, precision, db, add))?;
        }
        Ok(())
    }

    /// `dB (+)= scale * g^T (A x)`: computed transposed, because products have more columns than rows at little cost.
    fn write_b(&self, g: &[f32], precision: Precision, db: &mut [f32], add: bool) {
        let [n, rank] = self.b.shape();
        let t = g.len() / n.max(1);
        let mut columns = vec![0.0; rank * n];
        let g = Rhs::new(MatrixView::columns(g, n, t), precision);
        let low = MatrixView::columns(&self.low[..], rank, t);
        matmul(low, g.whole(), Output::new(&mut columns, n, false), |_, _, _| {});
        if !add {
            db.fill(0.0);
        }
        let (start, stride) = self.b.place();
        let (row_stride, stride) = if self.b.input_major { (1, stride) } else { (stride, 1) };
        for row in 0..n {
            for i in 0..rank {
                db[start + row * row_stride + i * stride] += self.scale * columns[i * n + row];
            }
        }
    }
}

vectorised! {
    fn scale_all(values: &mut [f32], scale: f32) {
        for value in values {
            *value *= scale;
        }
    }
}

/// The values of `A` and `B` of each term.
pub(super) fn values_of<'a>(inputs: &[&'a Array]) -> Result<Vec<[Values<'a>; 2]>> {
    inputs.chunks_exact(2).map(|pair| Ok([pair[0].values()?, pair[1].values()?])).collect()
}
