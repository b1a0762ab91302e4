//! Layer norm (Ba, Kiros, Hinton 2016; variance without Bessel's correction as in `torch.nn.LayerNorm`) and RMS norm
//! (Zhang and Sennrich 2019; `torch.nn.RMSNorm`) over the last dimension, fused with dropout and the residual sum:
//! `s = dropout(x) + residual`, `y = (s - mean(s)) / sqrt(var(s) + eps) * w + b`. RMS norm uses 0 as the mean.
//!
//! Shapes: `x, residual, y [.., D]`, `w, b [D]`; the bias is optional. Without a residual the last dimension of `x` may
//! be a multiple of `D`, and each part is normalised separately. The op saves mean and 1/std of each row and recomputes
//! `s` in the backward pass: with `n = (s - mean) rstd` and `g = dy w`, `ds = rstd (g - mean(g) - n mean(g n))`,
//! `dw = sum dy n`, `db = sum dy`. The term `mean(g)` is absent in RMS norm.

mod cpu;
mod kind;

use super::dropout::Dropout;
use crate::array::{Array, rows_and_columns};
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};
pub use kind::Kind;

/// Parameters and settings of a norm.
#[derive(Clone)]
pub struct Norm {
    pub kind: Kind,
    /// Weight `[D]`.
    pub weight: Var,
    /// Bias `[D]`.
    pub bias: Option<Var>,
    pub eps: f64,
}

/// `norm(x)`.
pub fn norm(x: &Var, norm: &Norm) -> Result<Var> {
    normed(x, None, norm, None)
}

/// `norm(dropout(x) + residual)`.
pub fn residual_norm(x: &Var, residual: &Var, norm: &Norm, dropout: Option<Dropout>) -> Result<Var> {
    normed(x, Some(residual), norm, dropout)
}

fn normed(x: &Var, residual: Option<&Var>, norm: &Norm, dropout: Option<Dropout>) -> Result<Var> {
    let shape = x.array().shape();
    let (_, columns) = rows_and_columns("norm", shape)?;
    let d = norm.weight.array().elem_count();
    let n_bias = norm.bias.as_ref().map_or(d, |bias| bias.array().elem_count());
    let fits = residual.map_or(d > 0 && columns.is_multiple_of(d), |r| d == columns && r.array().shape() == shape);
    if !fits || n_bias != d || d == 0 {
        let residual = residual.map(|r| r.array().shape());
        return Err(Error::internal(format!(
            "norm: got x {shape:?}, residual {residual:?}, a weight of {d} and a bias of {n_bias} values"
        )));
    }
    let (y, moments) = {
        let (x, weight) = (x.array().values()?, norm.weight.array().values()?);
        let [bias, residual] = [norm.bias.as_ref(), residual].map(|value| value.map(|value| value.array().values()));
        let (bias, residual) = (bias.transpose()?, residual.transpose()?);
        let rows = cpu::Rows { kind: norm.kind, dropout, x: &x, residual: residual.as_deref(), weight: &weight };
        cpu::forward(&rows, bias.as_deref(), norm.eps as f32)
    };
    // Bias and residual are optional and come last.
    let inputs: Vec<&Var> = [&norm.weight, x].into_iter().chain(&norm.bias).chain(residual).collect();
    let op = Normed { kind: norm.kind, has_bias: norm.bias.is_some(), dropout, moments };
    Ok(Var::computed(Array::new(y, shape)?, &inputs, op))
}

struct Normed {
    kind: Kind,
    has_bias: bool,
    dropout: Option<Dropout>,
    /// Mean and 1/std of each row, interleaved.
    moments: Vec<f32>,
}

// SAFETY: gradients that are not added to are written completely.
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
        let wanted = cpu::Wanted {
            parameters: dw.wanted() || db.first().is_some_and(Slot::wanted),
            sum: dx.wanted() || dr.first().is_some_and(Slot::wanted),
        };
        let shape = gradient.shape().clone();
        let mut gradient = gradient.into_vec()?;
        let sums = {
            let (x, weight) = (x.values()?, weight.values()?);
            let residual = residual.first().map(|r| r.values()).transpose()?;
            let (kind, dropout, residual) = (self.kind, self.dropout, residual.as_deref());
            let rows = cpu::Rows { kind, dropout, x: &x, residual, weight: &weight };
            cpu::backward(&rows, &self.moments, &wanted, &mut gradient)
        };
        if let Some(mut sums) = sums {
            let bias = sums.split_off(d);
            if let [db] = &mut db {
                db.give(Array::new(bias, d)?)?;
            }
            dw.give(Array::new(sums, d)?)?;
        }
        // `gradient` now holds ds, the gradient of both summands; one of them can take over its memory.
        match dr {
            [dr] if dr.wanted() => {
                dx.write(|dx, add| cpu::summand_gradient(self.dropout, &gradient, dx, add))?;
                dr.give(Array::new(gradient, shape)?)
            }
            _ if self.dropout.is_none() => dx.give(Array::new(gradient, shape)?),
            _ => dx.write(|dx, add| cpu::summand_gradient(self.dropout, &gradient, dx, add)),
        }
    }
}
