//! Weight-decomposed layers (DoRA, Liu et al. 2024): row `j` of `V = W + scale * B A` is scaled to the length `m[j]`.
//!
//! As in the paper's section 4.3 and in peft 0.21, the lengths of the rows of `V` are constants to the backward pass. They
//! are found without `V`: `|V_j|^2 = |W_j|^2 + 2 s B_j (W_j A^T) + s^2 B_j (A A^T) B_j`.

use std::ops::Range;

use super::low_rank::LowRankTerm;
use super::row_sum::multiply;
use crate::autograd::Var;
use crate::compute::{CHUNK, Elements, for_chunks, sum_rows, uninit};
use crate::error::Result;
use crate::matmul::{MatrixView, Output, Packed, Precision, matmul};
use crate::ops::affine::Part;

/// The lengths `m` of all stored outputs, and the range of them that belongs to a layer.
pub struct Magnitude {
    pub lengths: Var,
    pub outputs: Range<usize>,
}

/// What a forward pass keeps of the lengths.
pub(super) struct Scaled {
    outputs: Range<usize>,
    /// `m / |V|` for each output.
    pub factors: Vec<f32>,
}

impl Magnitude {
    /// The factors on the outputs, for a weight whose rows have the squared lengths `squares`.
    pub(super) fn begin(&self, weight: &[f32], part: &Part, squares: &[f32], term: &LowRankTerm) -> Result<Scaled> {
        let ([n, k], [rank, _]) = (part.shape(), term.a.shape());
        let a = term.a.weight.array().values()?;
        let a_rows = Packed::new(term.a.part.rows(&*a), Precision::F32);
        let product = |rows: MatrixView, count: usize| {
            // SAFETY: the product sets all values.
            let mut out = unsafe { uninit(count * rank) };
            matmul(rows, a_rows.whole(), Output::new(&mut out, rank, false), |_, _, _| {});
            out
        };
        let weights = product(part.rows(weight), n); // W A^T, [N, r]
        let own = product(MatrixView::rows(&a[..], rank, k), rank); // A A^T, [r, r]
        let columns = term.scaled_columns()?; // s B^T, [r, N]
        let m = self.lengths.array().values()?;
        let factor = |j: usize| {
            let b = |i: usize| f64::from(columns[i * n + j]);
            let with_weight: f64 = (0..rank).map(|i| b(i) * f64::from(weights[j * rank + i])).sum();
            let with_own: f64 =
                (0..rank).map(|i| b(i) * (0..rank).map(|l| b(l) * f64::from(own[i * rank + l])).sum::<f64>()).sum();
            let square = f64::from(squares[j]) + 2.0 * with_weight + with_own;
            // A row of zeros has no direction to be long in.
            if square > 0.0 { (f64::from(m[self.outputs.start + j]) / square.sqrt()) as f32 } else { 1.0 }
        };
        Ok(Scaled { outputs: self.outputs.clone(), factors: (0..n).map(factor).collect() })
    }
}

impl Scaled {
    /// `dm (+)= sum over t of g (y - b) / m`, for the gradient `g [T, N]` of `y`, the outputs with their bias.
    pub(super) fn lengths_gradient(
        &self,
        (g, y): (&[f32], Elements),
        bias: Option<&[f32]>,
        m: &[f32],
        dm: &mut [f32],
        add: bool,
    ) {
        let n = self.factors.len();
        // SAFETY: all values are copied.
        let mut products = unsafe { uninit(g.len()) };
        y.copy_to(&mut products);
        for_chunks(&mut products, CHUNK, |i, products| multiply(products, &g[i..]));
        let (sums, of_g) = (sum_rows(&products, n), sum_rows(g, n));
        if !add {
            dm.fill(0.0);
        }
        for (j, out) in dm[self.outputs.clone()].iter_mut().enumerate() {
            let (m, b) = (m[self.outputs.start + j], bias.map_or(0.0, |bias| bias[j]));
            *out += if m == 0.0 { 0.0 } else { (sums[j] - b * of_g[j]) / m };
        }
    }

    /// Turns the gradient `g [T, N]` of the outputs into that of the outputs before they were scaled.
    pub(super) fn scale(&self, g: &mut [f32]) {
        let n = self.factors.len().max(1);
        for_chunks(g, CHUNK.next_multiple_of(n), |_, g| {
            g.chunks_exact_mut(n).for_each(|row| multiply(row, &self.factors));
        });
    }
}

/// The squared lengths of the rows of a weight.
pub(super) fn squared_lengths(weight: &[f32], part: &Part) -> Vec<f32> {
    let ([n, k], rows) = (part.shape(), part.rows(weight));
    let at = |row: usize, column: usize| f64::from(rows.values.at(row * rows.line_stride + column * rows.depth_stride));
    (0..n).map(|row| (0..k).map(|column| at(row, column).powi(2)).sum::<f64>() as f32).collect()
}
