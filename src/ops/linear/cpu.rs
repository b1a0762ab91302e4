//! Linear layers on the CPU: a matrix product, with bias, activation, dropout and residual applied to rows while they
//! are in the cache.

use super::row_sum::{RowSum, multiply};
use crate::compute::{
    Buffer, CHUNK, Elements, SharedBuffer, StorageDtype, add_bias_to_rows, for_chunks, sum_rows, sum_rows_into,
};
use crate::matmul::{Int8Weight, MatrixView, Output, Packed, Precision, Rhs, RhsView, matmul, matmul_streaming_rhs};
use crate::ops::activation::Activation;
use crate::ops::activation::cpu::activate;
use crate::ops::affine::Part;
use crate::ops::dropout::Dropout;
use crate::ops::dropout::cpu::mask;

/// A matrix product `x W^T`, of `x [T, K]` and `W [N, K]`.
pub(super) enum Product<'a> {
    Packed(MatrixView<'a>, &'a Packed),
    /// `x`, and `W` that is not packed beforehand.
    Once(MatrixView<'a>, MatrixView<'a>, Precision),
    Int8(&'a [f32], &'a Int8Weight),
}

/// Epilogue: operations applied to the rows of the product `[T, N]`.
pub(super) struct FusedEpilogue<'a> {
    /// Bias `[N]`.
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
    pub dropout: Option<Dropout>,
    /// Residual `[T, N]`.
    pub residual: Option<&'a [f32]>,
    /// Low-rank terms, added before the bias.
    pub sums: &'a [RowSum<'a>],
    /// Factors on the sum of the product and the low-rank terms, `[N]`.
    pub factors: Option<&'a [f32]>,
}

/// Computes the product `[t, n]` and applies the epilogue to each row. If `keep` is set, also returns the rows with their
/// bias: the activation's input.
///
/// # Safety
///
/// The product has `t` rows and `n` columns; an int8 product has a depth above 0.
pub(super) unsafe fn forward(
    product: Product,
    [t, n]: [usize; 2],
    ending: &FusedEpilogue,
    dtype: StorageDtype,
    keep: bool,
) -> (Buffer, Option<Buffer>) {
    // SAFETY: `pre` is written as rows are finished, and every row is.
    let mut pre = keep.then(|| unsafe { Buffer::uninit(dtype, t * n) });
    let kept = pre.as_mut().map(Buffer::shared);
    // SAFETY: a product of this shape, as the caller promises, sets all values, or finishes every row, which is then
    // copied.
    let mut y = unsafe { Buffer::uninit(dtype, t * n) };
    match &mut y {
        Buffer::F32(y) => product.run(Output::new(y, n, false), &|row, column, y| {
            // SAFETY: a product finishes each piece of a row once.
            unsafe { ending.finish([row, column], n, y, kept) };
        }),
        narrow @ Buffer::Bf16(_) => {
            let narrow = narrow.shared();
            product.run(Output::scratch(), &|row, column, y| {
                // SAFETY: a product finishes each piece of a row once.
                unsafe {
                    ending.finish([row, column], n, y, kept);
                    narrow.copy_from(row * n + column, y);
                }
            });
        }
    }
    (y, pre)
}

/// Finishes a piece of a row; the arguments are the row, the column of the piece, and its values.
type Finish<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

impl Product<'_> {
    /// Runs the product and calls `finish` once for each piece of a row.
    fn run(self, out: Output, finish: Finish) {
        match self {
            Self::Packed(x, weight) => matmul(x, weight.whole(), out, finish),
            Self::Once(x, weight, precision) => matmul_streaming_rhs(x, weight, precision, out, finish),
            Self::Int8(x, weight) => weight.product(x, out, finish),
        }
    }
}

impl FusedEpilogue<'_> {
    /// Applies the epilogue to `y`, the piece from `column` on of a row of `n` values. `kept` stores the activation's
    /// input.
    ///
    /// # Safety
    ///
    /// No other thread accesses this piece of `kept` meanwhile.
    unsafe fn finish(&self, [row, column]: [usize; 2], n: usize, y: &mut [f32], kept: Option<SharedBuffer>) {
        let start = row * n + column;
        self.sums.iter().for_each(|sum| sum.add_to(y, row, column));
        if let Some(factors) = self.factors {
            multiply(y, &factors[column..]);
        }
        if let Some(bias) = self.bias {
            add_bias_to_rows(y, &bias[column..][..y.len()]);
        }
        if let Some(kept) = kept {
            // SAFETY: the caller promises that nobody else touches this piece.
            unsafe { kept.copy_from(start, y) };
        }
        if let Some(activation) = self.activation {
            activate(activation, y);
        }
        if let Some(dropout) = &self.dropout {
            mask(dropout, start, y);
        }
        if let Some(residual) = self.residual {
            let residual = &residual[start..start + y.len()];
            sum_rows_into(y, residual);
        }
    }
}

/// Gradient of the residual: `dr (+)= dy`.
pub(super) fn residual_gradient(dy: &[f32], dr: &mut [f32], add: bool) {
    if add { crate::compute::add(dr, dy) } else { dr.copy_from_slice(dy) }
}

/// `dx [T, K] (+)= g W`, plus the sums, for `g [T, N]` and the columns of `W`.
pub(super) fn input_gradient(g: &[f32], weight: RhsView, sums: &[RowSum], dx: &mut [f32], add: bool) {
    let [k, n] = weight.shape();
    let t = dx.len() / k.max(1);
    matmul(MatrixView::rows(g, t, n), weight, Output::new(dx, k, add), |row, column, dx| {
        for sum in sums {
            sum.add_to(dx, row, column);
        }
    });
}

/// `dW (+)= g^T x`, for `g [T, N]` and `x [T, K]`.
pub(super) fn weight_gradient(g: &[f32], x: Elements, part: &Part, precision: Precision, dw: &mut [f32], add: bool) {
    let [n, k] = part.shape();
    let t = x.len() / k.max(1);
    if !part.is_whole() {
        clear_unless(dw, add);
    }
    let add = add || !part.is_whole();
    let (start, stride) = part.place();
    let (x, g) = (MatrixView::columns(x, k, t), MatrixView::columns(g, n, t));
    let (rows, columns) = if part.input_major { (x, g) } else { (g, x) };
    let out = Output::new(&mut dw[start..], stride, add);
    matmul(rows, Rhs::new(columns, precision).whole(), out, |_, _, _| {});
}

/// `db (+)=` the sum over the rows of `g [T, N]`.
pub(super) fn bias_gradient(g: &[f32], part: &Part, db: &mut [f32], add: bool) {
    let sum = sum_rows(g, part.shape()[0]);
    clear_unless(db, add);
    sum_rows_into(&mut db[part.outputs.clone()], &sum);
}

/// Zeroes a gradient that is not added to, because a layer that is part of a parameter only writes its own outputs.
fn clear_unless(gradient: &mut [f32], add: bool) {
    if !add {
        for_chunks(gradient, CHUNK, |_, gradient| gradient.fill(0.0));
    }
}
