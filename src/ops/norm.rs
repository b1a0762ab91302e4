//! Layer norm (Ba, Kiros, Hinton 2016; variance without Bessel's correction as in `torch.nn.LayerNorm`) and root mean
//! square norm (Zhang and Sennrich 2019; `torch.nn.RMSNorm`) over the last dimension, with the residual sum and its dropout
//! in one pass: `s = dropout(x) + residual`, `y = (s - mean(s)) / sqrt(var(s) + eps) * w + b`, where the root mean square
//! norm takes 0 for the mean.
//!
//! Shapes: `x, residual, y [.., D]`, `w, b [D]`, the bias absent where there is none; without a residual the last dimension
//! of `x` may be a multiple of `D`, each part normed by itself. The op keeps mean and 1/std per row and computes `s` again
//! backward: with `n = (s - mean) rstd` and `g = dy w`, `ds = rstd (g - mean(g) - n mean(g n))`, `dw = sum dy n`,
//! `db = sum dy`; `mean(g)` comes from the mean of `s` and is 0 with it.

use rayon::prelude::*;

use super::dropout::Dropout;
use crate::array::{Array, rows_and_columns};
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{CHUNK, add_assign, for_chunks, sum_partials, uninit};
use crate::error::{Error, Result};

/// Rows handled by one task.
const ROWS: usize = 32;

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Layer,
    RootMeanSquare,
}

/// A norm's parameters and settings.
#[derive(Clone)]
pub struct Norm {
    pub kind: Kind,
    /// `[D]`
    pub weight: Value,
    /// `[D]`
    pub bias: Option<Value>,
    pub eps: f64,
}

/// `norm(x)`.
pub fn norm(x: &Value, norm: &Norm) -> Result<Value> {
    normed(x, None, norm, None)
}

/// `norm(dropout(x) + residual)`.
pub fn residual_norm(x: &Value, residual: &Value, norm: &Norm, dropout: Option<Dropout>) -> Result<Value> {
    normed(x, Some(residual), norm, dropout)
}

fn normed(x: &Value, residual: Option<&Value>, norm: &Norm, dropout: Option<Dropout>) -> Result<Value> {
    let shape = x.array().shape();
    let (rows, columns) = rows_and_columns("norm", shape)?;
    let d = norm.weight.array().elem_count();
    let n_bias = norm.bias.as_ref().map_or(d, |bias| bias.array().elem_count());
    let fits = residual.map_or(d > 0 && columns.is_multiple_of(d), |r| d == columns && r.array().shape() == shape);
    if !fits || n_bias != d || d == 0 {
        let residual = residual.map(|r| r.array().shape());
        return Err(Error::internal(format!(
            "norm: got x {shape:?}, residual {residual:?}, a weight of {d} and a bias of {n_bias} values"
        )));
    }
    let t = rows * columns / d;
    let summand = Summand { dropout };
    // SAFETY: every row is written, and its moments.
    let (mut y, mut moments): (Vec<f32>, Vec<f32>) = unsafe { (uninit(t * d), uninit(2 * t)) };
    {
        let residual = residual.map(|r| r.array().values()).transpose()?;
        let bias = norm.bias.as_ref().map(|bias| bias.array().values()).transpose()?;
        let (x, residual): (&[f32], _) = (&x.array().values()?, residual.as_deref());
        let (weight, bias): (&[f32], _) = (&norm.weight.array().values()?, bias.as_deref());
        y.par_chunks_mut(ROWS * d).zip(moments.par_chunks_mut(ROWS * 2)).enumerate().for_each(
            |(task, (y, moments))| {
                let eps = norm.eps as f32;
                forward_rows(norm.kind, &summand, task * ROWS, x, residual, weight, bias, eps, y, moments);
            },
        );
    }
    // Bias and residual, which may be absent, come last.
    let inputs: Vec<&Value> = [&norm.weight, x].into_iter().chain(&norm.bias).chain(residual).collect();
    let op = Normed { kind: norm.kind, has_bias: norm.bias.is_some(), summand, moments };
    Ok(Value::computed(Array::new(y, shape)?, &inputs, op))
}

struct Normed {
    kind: Kind,
    has_bias: bool,
    summand: Summand,
    /// Mean and 1/std of each row, interleaved.
    moments: Vec<f32>,
}

/// How `x` enters the sum.
struct Summand {
    dropout: Option<Dropout>,
}

impl Summand {
    /// `s` of one row into `sum`.
    #[inline(always)]
    fn sum_row(&self, row: usize, x: &[f32], residual: Option<&[f32]>, sum: &mut [f32]) {
        match self.dropout {
            Some(dropout) => dropout.write(row * sum.len(), x, sum, false),
            None => sum.copy_from_slice(x),
        }
        if let Some(residual) = residual {
            add_assign(sum, residual);
        }
    }

    /// From `ds` to the gradient of `x`.
    fn backward(&self, ds: &[f32], dx: &mut [f32], add: bool) {
        match &self.dropout {
            Some(dropout) => dropout.apply(ds, dx, add),
            None if add => crate::compute::add(dx, ds),
            None => for_chunks(dx, CHUNK, |start, dx| dx.copy_from_slice(&ds[start..start + dx.len()])),
        }
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Normed {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let ([weight, x, rest @ ..], [dw, dx, gradients @ ..]) = (inputs, into) else {
            return Err(Error::internal("got fewer than two inputs"));
        };
        let (mut db, dr) = gradients.split_at_mut(usize::from(self.has_bias));
        let residual = &rest[usize::from(self.has_bias)..];
        let d = weight.elem_count();
        let wanted = Wanted {
            parameters: dw.wanted() || db.first().is_some_and(Slot::wanted),
            sum: dx.wanted() || dr.first().is_some_and(Slot::wanted),
        };
        let shape = gradient.shape().clone();
        let mut gradient = gradient.into_vec()?;
        let partial: Vec<Vec<f32>> = {
            let residual = residual.first().map(|r| r.values()).transpose()?;
            let (x, residual): (&[f32], _) = (&x.values()?, residual.as_deref());
            let weight: &[f32] = &weight.values()?;
            let rows = |(task, gradient): (usize, &mut [f32])| {
                let mut sums = vec![0f32; if wanted.parameters { 2 * d } else { 0 }];
                let first = task * ROWS;
                backward_rows(
                    self.kind,
                    &self.summand,
                    &wanted,
                    first,
                    x,
                    residual,
                    weight,
                    &self.moments,
                    gradient,
                    &mut sums,
                );
                sums
            };
            gradient.par_chunks_mut(ROWS * d).enumerate().map(rows).collect()
        };
        if wanted.parameters {
            let mut sums = sum_partials(partial, 2 * d);
            let bias = sums.split_off(d);
            if let [db] = &mut db {
                db.give(Array::new(bias, d)?)?;
            }
            dw.give(Array::new(sums, d)?)?;
        }
        // Now `gradient` holds ds, which goes to both summands: one of them can have the memory itself.
        match dr {
            [dr] if dr.wanted() => {
                dx.write(|dx, add| self.summand.backward(&gradient, dx, add))?;
                dr.give(Array::new(gradient, shape)?)
            }
            _ if self.summand.dropout.is_none() => dx.give(Array::new(gradient, shape)?),
            _ => dx.write(|dx, add| self.summand.backward(&gradient, dx, add)),
        }
    }
}

/// Which gradients are asked for: of weight or bias, of `s`.
struct Wanted {
    parameters: bool,
    sum: bool,
}

vectorised! {
    /// Norm of the rows from `first` on, as many as `y` holds; `moments` gets mean and 1/std of each.
    fn forward_rows(
        kind: Kind, summand: &Summand, first: usize, x: &[f32], residual: Option<&[f32]>, weight: &[f32],
        bias: Option<&[f32]>, eps: f32, y: &mut [f32], moments: &mut [f32],
    ) {
        let d = weight.len();
        for (i, (y, moments)) in y.chunks_exact_mut(d).zip(moments.chunks_exact_mut(2)).enumerate() {
            let at = (first + i) * d..(first + i + 1) * d;
            summand.sum_row(first + i, &x[at.clone()], residual.map(|r| &r[at]), y);
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
    /// Turns `dy` of the rows from `first` on, as many as `gradient` holds, into `ds`; their `dw` and `db` are added to
    /// `sums [2, D]`.
    fn backward_rows(
        kind: Kind, summand: &Summand, wanted: &Wanted, first: usize, x: &[f32], residual: Option<&[f32]>, weight: &[f32],
        moments: &[f32], gradient: &mut [f32], sums: &mut [f32],
    ) {
        let d = weight.len();
        let mut n = vec![0f32; d];
        for (i, gradient) in gradient.chunks_exact_mut(d).enumerate() {
            let row = first + i;
            let at = row * d..(row + 1) * d;
            let (mean, rstd) = (moments[2 * row], moments[2 * row + 1]);
            summand.sum_row(row, &x[at.clone()], residual.map(|r| &r[at]), &mut n);
            // One length for all of them, so that the loops need no checks.
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
