//! The affine map `y = f(x W^T + b)` with an optional activation `f`.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`, as `torch.nn.Linear` stores them. Backward, with
//! `g = dy * f'(pre)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`; a side nobody asked for is not computed.

use candle_core::{Shape, Tensor};
use gemm::Parallelism;

use super::activation::Activation;
use super::product::Operand;
use crate::autograd::{Op, Slot, Value};
use crate::compute::{CHUNK, add_to_rows, for_chunks, rows_and_columns, sum_rows, tensor, uninit, values};
use crate::error::{Error, Result};

/// `f(x W^T + b)`: `x [.., K]`, `weight [N, K]`, `bias [N]` to `[.., N]`.
pub fn linear(x: &Value, weight: &Value, bias: Option<&Value>, activation: Option<Activation>) -> Result<Value> {
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let (shape, w_shape) = (x.tensor().shape(), weight.tensor().shape());
    let (t, k) = rows_and_columns("linear", shape)?;
    let (n, w_k) = w_shape.dims2()?;
    if k != w_k || bias.is_some_and(|b| b.tensor().dims() != [n]) {
        let bias = bias.map(|b| b.tensor().shape());
        return Err(Error::internal(format!("linear: got x {shape:?}, weight {w_shape:?}, bias {bias:?}")));
    }
    let mut y = uninit(t * n);
    product([t, n, k], &mut y, false, (&values(x.tensor())?, k, 1), (&values(weight.tensor())?, 1, k));
    if let Some(bias) = bias {
        let bias: &[f32] = &values(bias.tensor())?;
        for_chunks(&mut y, (CHUNK / n.max(1)).max(1) * n, |_, rows| add_to_rows(rows, bias));
    }
    let mut through = None;
    if let Some(activation) = activation {
        if Value::differentiable(&inputs) {
            let pre = std::mem::replace(&mut y, uninit(t * n));
            for_chunks(&mut y, CHUNK, |i, y| activation.forward(&pre[i..i + y.len()], y));
            through = Some((activation, pre));
        } else {
            for_chunks(&mut y, CHUNK, |_, y| activation.forward_in_place(y));
        }
    }
    let mut dims = shape.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    Ok(Value::computed(tensor(y, Shape::from(dims))?, &inputs, Linear { through }))
}

struct Linear {
    /// The activation and what went into it.
    through: Option<(Activation, Vec<f32>)>,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, inputs: &[&Tensor], mut g: Vec<f32>, into: &mut [Slot]) -> Result<()> {
        let ([x, w, ..], [dx, dw, db @ ..]) = (inputs, into) else {
            return Err(Error::internal("got fewer than two inputs"));
        };
        let (n, k) = w.dims2()?;
        let t = x.elem_count() / k.max(1);
        if let Some((activation, pre)) = &self.through {
            for_chunks(&mut g, CHUNK, |i, g| activation.backward(&pre[i..i + g.len()], g));
        }
        if dx.wanted() {
            let w: &[f32] = &values(w)?;
            dx.write(|dx, add| product([t, k, n], dx, add, (&g, n, 1), (w, k, 1)));
        }
        if dw.wanted() {
            let x: &[f32] = &values(x)?;
            dw.write(|dw, add| product([n, k, t], dw, add, (&g, 1, n), (x, k, 1)));
        }
        match db {
            [db] if db.wanted() => db.give(sum_rows(&g, n)),
            _ => Ok(()),
        }
    }
}

/// `out [m, n] (+)= a [m, k] b [k, n]`, operands given as (values, row stride, column stride).
fn product([m, n, k]: [usize; 3], out: &mut [f32], add: bool, a: (&[f32], usize, usize), b: (&[f32], usize, usize)) {
    debug_assert!(out.len() == m * n && a.0.len() == m * k && b.0.len() == k * n);
    if k == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    let operand = |(values, rows, columns): (&[f32], usize, usize)| Operand(values.as_ptr(), rows, columns);
    // SAFETY: the strides stay within the slices, whose lengths the callers derive from the same m, n, k.
    unsafe {
        super::product::product(
            [m, n, k],
            (out.as_mut_ptr(), n),
            add,
            (operand(a), operand(b)),
            1.0,
            Parallelism::Rayon(0),
        );
    }
}
