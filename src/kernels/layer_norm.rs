//! Layer norm with the residual sum and its dropout in one pass: `s = dropout(x) + residual`,
//! `y = (s - mean(s)) / sqrt(var(s) + eps) * w + b` over the last dimension (Ba, Kiros, Hinton 2016; variance without
//! Bessel's correction as in `torch.nn.LayerNorm`).
//!
//! Shapes: `x, residual, y [.., D]`, `w, b [D]`. The op keeps mean and 1/std per row and computes `s` again backward:
//! with `n = (s - mean) rstd` and `g = dy w`, `ds = rstd (g - mean(g) - n mean(g n))`, `dw = sum dy n`, `db = sum dy`.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::access::{f32_slice, rows_and_columns, tensor, uninit, with_f32};
use super::dropout::Dropout;
use super::math;
use super::parallel::sum_partials;
use super::simd::vectorised;

/// Rows handled by one task.
const ROWS: usize = 32;

/// `norm(x)`: `x [.., D]`, `weight` and `bias` `[D]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32, dropout: None, moments: OnceLock::new() };
    x.contiguous()?.apply_op2(&Tensor::stack(&[weight, bias], 0)?, op)
}

/// `norm(dropout(x) + residual)`: `x` and `residual` `[.., D]`, `weight` and `bias` `[D]`.
pub fn residual_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32, dropout, moments: OnceLock::new() };
    // candle's ops take three arguments at most: weight and bias travel as the rows of one.
    x.contiguous()?.apply_op3(&residual.contiguous()?, &Tensor::stack(&[weight, bias], 0)?, op)
}

struct LayerNorm {
    eps: f32,
    dropout: Option<Dropout>,
    /// Mean and 1/std of each row, interleaved.
    moments: OnceLock<Vec<f32>>,
}

impl LayerNorm {
    /// `s` of one row into `sum`.
    #[inline(always)]
    fn sum_row(&self, row: usize, x: &[f32], residual: Option<&[f32]>, sum: &mut [f32]) {
        let d = sum.len();
        match &self.dropout {
            Some(dropout) => dropout.for_each(row * d, d, |i, factor| sum[i] = x[i] * factor),
            None => sum.copy_from_slice(x),
        }
        if let Some(residual) = residual {
            super::parallel::add_assign(sum, residual);
        }
    }

    fn forward(
        &self,
        x: &[f32],
        shape: &Shape,
        residual: Option<&[f32]>,
        params: &[f32],
    ) -> Result<(CpuStorage, Shape)> {
        let (t, d) = rows_and_columns("layer norm", shape)?;
        if d == 0 || params.len() != 2 * d || residual.is_some_and(|r| r.len() != x.len()) {
            bail!(
                "layer norm: got x {shape:?}, residual of {:?} values, weight and bias of {}",
                residual.map(<[f32]>::len),
                params.len() / 2
            )
        }
        let (mut y, mut moments) = (uninit(t * d), uninit(2 * t));
        y.par_chunks_mut(ROWS * d).zip(moments.par_chunks_mut(ROWS * 2)).enumerate().for_each(
            |(task, (y, moments))| {
                forward_rows(self, task * ROWS, x, residual, params, y, moments);
            },
        );
        let _ = self.moments.set(moments);
        Ok((CpuStorage::F32(y), shape.clone()))
    }

    /// Gradients of `(s, [w, b])`.
    fn backward(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        params: &[f32],
        grad: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let Some(moments) = self.moments.get() else { bail!("layer norm: backward before forward") };
        let d = params.len() / 2;
        let mut ds = uninit(x.len());
        let partial: Vec<Vec<f32>> = ds
            .par_chunks_mut(ROWS * d)
            .enumerate()
            .map(|(task, ds)| {
                let mut sums = vec![0f32; 2 * d];
                backward_rows(self, task * ROWS, x, residual, &params[..d], grad, moments, ds, &mut sums);
                sums
            })
            .collect();
        Ok((ds, sum_partials(partial, 2 * d)))
    }
}

vectorised! {
    /// Norm of the rows from `first` on, as many as `y` holds; `moments` gets mean and 1/std of each.
    fn forward_rows(op: &LayerNorm, first: usize, x: &[f32], residual: Option<&[f32]>, params: &[f32], y: &mut [f32], moments: &mut [f32]) {
        let (weight, bias) = params.split_at(params.len() / 2);
        let d = weight.len();
        for (i, (y, moments)) in y.chunks_exact_mut(d).zip(moments.chunks_exact_mut(2)).enumerate() {
            let at = (first + i) * d..(first + i + 1) * d;
            op.sum_row(first + i, &x[at.clone()], residual.map(|r| &r[at]), y);
            let mean = math::sum(y, |y| y) / d as f32;
            let variance = math::sum(y, |y| (y - mean) * (y - mean)) / d as f32;
            let rstd = 1.0 / (variance + op.eps).sqrt();
            for ((y, w), b) in y.iter_mut().zip(weight).zip(bias) {
                *y = ((*y - mean) * rstd).mul_add(*w, *b);
            }
            moments.copy_from_slice(&[mean, rstd]);
        }
    }
}

vectorised! {
    /// `ds` of the rows from `first` on, as many as it holds; their `dw` and `db` are added to `sums [2, D]`.
    fn backward_rows(
        op: &LayerNorm, first: usize, x: &[f32], residual: Option<&[f32]>, weight: &[f32], grad: &[f32], moments: &[f32],
        ds: &mut [f32], sums: &mut [f32],
    ) {
        let d = weight.len();
        let mut n = vec![0f32; d];
        let (dw, db) = sums.split_at_mut(d);
        for (i, ds) in ds.chunks_exact_mut(d).enumerate() {
            let row = first + i;
            let at = row * d..(row + 1) * d;
            let (dy, mean, rstd) = (&grad[at.clone()], moments[2 * row], moments[2 * row + 1]);
            op.sum_row(row, &x[at.clone()], residual.map(|r| &r[at]), &mut n);
            // One length for all of them, so that the loops need no checks.
            let (n, ds, dw, db) = (&mut n[..d], &mut ds[..d], &mut dw[..d], &mut db[..d]);
            for i in 0..d {
                n[i] = (n[i] - mean) * rstd;
                dw[i] = dy[i].mul_add(n[i], dw[i]);
                db[i] += dy[i];
                ds[i] = dy[i] * weight[i];
            }
            let mean_g = math::sum(ds, |g| g) / d as f32;
            let mean_gn = math::sum2(ds, n, |g, n| g * n) / d as f32;
            for (ds, n) in ds.iter_mut().zip(n) {
                *ds = rstd * (*ds - mean_g - *n * mean_gn);
            }
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "residual-layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        r: &CpuStorage,
        rl: &Layout,
        p: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = "residual-layer-norm";
        let (x, r, p) = (f32_slice(name, x, xl)?, f32_slice(name, r, rl)?, f32_slice(name, p, pl)?);
        self.forward(x, xl.shape(), Some(r), p)
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        params: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (ds, dp) = with_f32(x, |x| {
            with_f32(residual, |r| with_f32(params, |p| with_f32(grad, |g| self.backward(x, Some(r), p, g))))
        })?;
        let ds = tensor(ds, x.shape())?;
        let dx = match (x.track_op(), self.dropout) {
            (false, _) => None,
            (true, None) => Some(ds.clone()),
            (true, Some(dropout)) => Some(ds.apply_op1_no_bwd(&dropout)?),
        };
        let dp = if params.track_op() { Some(tensor(dp, params.shape())?) } else { None };
        Ok((dx, residual.track_op().then_some(ds), dp))
    }
}

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, p: &CpuStorage, pl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(f32_slice("layer-norm", x, xl)?, xl.shape(), None, f32_slice("layer-norm", p, pl)?)
    }

    fn bwd(&self, x: &Tensor, params: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (ds, dp) = with_f32(x, |x| with_f32(params, |p| with_f32(grad, |g| self.backward(x, None, p, g))))?;
        let dx = if x.track_op() { Some(tensor(ds, x.shape())?) } else { None };
        let dp = if params.track_op() { Some(tensor(dp, params.shape())?) } else { None };
        Ok((dx, dp))
    }
}
