//! Norms on the CPU.

use rayon::prelude::*;

use super::kind::Kind;
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{CHUNK, add_assign, for_chunks, sum_partials, uninit};
use crate::ops::dropout::Dropout;
use crate::ops::dropout::cpu::{masked, write};

/// Rows per task.
const ROWS: usize = 32;

/// Input of the norm, `s = dropout(x) + residual [T, D]`, and its settings.
pub(super) struct Rows<'a> {
    pub kind: Kind,
    pub dropout: Option<Dropout>,
    pub x: &'a [f32],
    pub residual: Option<&'a [f32]>,
    /// Weight `[D]`.
    pub weight: &'a [f32],
}

/// Which gradients are needed: of weight or bias, and of `s`.
pub(super) struct Wanted {
    pub parameters: bool,
    pub sum: bool,
}

/// Returns `y [T, D]`, and mean and 1/std of each row, interleaved.
pub(super) fn forward(rows: &Rows, bias: Option<&[f32]>, eps: f32) -> (Vec<f32>, Vec<f32>) {
    let Rows { kind, dropout, x, residual, weight } = *rows;
    let d = weight.len();
    let t = x.len() / d;
    // SAFETY: every row and its moments are written.
    let (mut y, mut moments): (Vec<f32>, Vec<f32>) = unsafe { (uninit(t * d), uninit(2 * t)) };
    y.par_chunks_mut(ROWS * d).zip(moments.par_chunks_mut(ROWS * 2)).enumerate().for_each(|(task, (y, moments))| {
        forward_rows(kind, dropout, task * ROWS, x, residual, weight, bias, eps, y, moments);
    });
    (y, moments)
}

/// Turns `dy [T, D]` into `ds`, in place, if needed. Returns `dw` and `db`, concatenated, if needed.
pub(super) fn backward(rows: &Rows, moments: &[f32], wanted: &Wanted, gradient: &mut [f32]) -> Option<Vec<f32>> {
    let Rows { kind, dropout, x, residual, weight } = *rows;
    let d = weight.len();
    let rows = |(task, gradient): (usize, &mut [f32])| {
        let mut sums = vec![0f32; if wanted.parameters { 2 * d } else { 0 }];
        backward_rows(kind, dropout, wanted, task * ROWS, x, residual, weight, moments, gradient, &mut sums);
        sums
    };
    let partial: Vec<Vec<f32>> = gradient.par_chunks_mut(ROWS * d).enumerate().map(rows).collect();
    wanted.parameters.then(|| sum_partials(partial, 2 * d))
}

/// `dx (+)= ds`, through dropout if there is any.
pub(super) fn summand_gradient(dropout: Option<Dropout>, ds: &[f32], dx: &mut [f32], add: bool) {
    match &dropout {
        Some(dropout) => masked(dropout, ds, dx, add),
        None if add => crate::compute::add(dx, ds),
        None => for_chunks(dx, CHUNK, |start, dx| dx.copy_from_slice(&ds[start..start + dx.len()])),
    }
}

/// Writes one row of `s` to `sum`.
#[inline(always)]
fn sum_row(dropout: Option<Dropout>, row: usize, x: &[f32], residual: Option<&[f32]>, sum: &mut [f32]) {
    match dropout {
        Some(dropout) => write(dropout, row * sum.len(), x, sum, false),
        None => sum.copy_from_slice(x),
    }
    if let Some(residual) = residual {
        add_assign(sum, residual);
    }
}

vectorised! {
    /// Norm of the rows from `first` on, as many as `y` holds. `moments` receives mean and 1/std of each.
    fn forward_rows(
        kind: Kind, dropout: Option<Dropout>, first: usize, x: &[f32], residual: Option<&[f32]>, weight: &[f32],
        bias: Option<&[f32]>, eps: f32, y: &mut [f32], moments: &mut [f32],
    ) {
        let d = weight.len();
        for (i, (y, moments)) in y.chunks_exact_mut(d).zip(moments.chunks_exact_mut(2)).enumerate() {
            let at = (first + i) * d..(first + i + 1) * d;
            sum_row(dropout, first + i, &x[at.clone()], residual.map(|r| &r[at]), y);
            let mean = if kind == Kind::Layer { math::sum(y, |y| y) / d as f32 } else { 0.0 };
            let variance = math::sum(y, |y| (y - mean) * (y - mean)) / d as f32;
            let rstd = 1.0 / (variance + eps).sqrt();
            match bias {
                Some(bias) => y.iter_mut().zip(weight).zip(bias).for_each(|((y, w), b)| *y = ((*y - mean) * rstd).mul_add(*w, *b)),
                None => y.iter_mut().zip(weight).for_each(|(y, w)| *y = (*y - mean) * rstd * *w),
            }
            moments.copy_from_slice(&[mean, rstd]);
        }
    }
}

vectorised! {
    /// Turns `dy` of the rows from `first` on, as many as `gradient` holds, into `ds`, and adds their `dw` and `db` to
    /// `sums [2, D]`.
    fn backward_rows(
        kind: Kind, dropout: Option<Dropout>, wanted: &Wanted, first: usize, x: &[f32], residual: Option<&[f32]>, weight: &[f32],
        moments: &[f32], gradient: &mut [f32], sums: &mut [f32],
    ) {
        let d = weight.len();
        let mut n = vec![0f32; d];
        for (i, gradient) in gradient.chunks_exact_mut(d).enumerate() {
            let row = first + i;
            let at = row * d..(row + 1) * d;
            let (mean, rstd) = (moments[2 * row], moments[2 * row + 1]);
            sum_row(dropout, row, &x[at.clone()], residual.map(|r| &r[at]), &mut n);
            // Slices of one length, so that the loops need no bounds checks.
            let (n, ds, weight) = (&mut n[..d], &mut gradient[..d], &weight[..d]);
            for n in n.iter_mut() {
                *n = (*n - mean) * rstd;
            }
            if wanted.parameters {
                let (dw, db) = sums.split_at_mut(d);
                let (dw, db) = (&mut dw[..d], &mut db[..d]);
                for i in 0..d {
                    dw[i] = ds[i].mul_add(n[i], dw[i]);
                    db[i] += ds[i];
                }
            }
            if !wanted.sum {
                continue;
            }
            for (ds, w) in ds.iter_mut().zip(weight) {
                *ds *= w;
            }
            let mean_g = if kind == Kind::Layer { math::sum(ds, |g| g) / d as f32 } else { 0.0 };
            let mean_gn = math::sum2(ds, n, |g, n| g * n) / d as f32;
            for (ds, n) in ds.iter_mut().zip(n) {
                *ds = rstd * (*ds - mean_g - *n * mean_gn);
            }
        }
    }
}
