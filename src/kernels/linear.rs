//! The affine map `y = f(x W^T + b)` with an optional activation `f`.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`, as `torch.nn.Linear` stores them. Backward, with
//! `g = dy * f'(pre)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`; a side nobody asked for is not computed.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;

use super::access::{f32_slice, rows_and_columns, tensor, uninit, with_f32};
use super::activation::Activation;
use super::parallel::{CHUNK, add_to_rows, for_chunks, sum_rows};
use super::product::Operand;

/// `f(x W^T + b)`: `x [.., K]`, `weight [N, K]`, `bias [N]` to `[.., N]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
    let op = Linear { activation, pre: OnceLock::new() };
    let x = x.contiguous()?;
    match bias {
        Some(bias) => x.apply_op3(weight, bias, op),
        None => x.apply_op2(weight, op),
    }
}

struct Linear {
    activation: Option<Activation>,
    /// What went into the activation, for its backward.
    pre: OnceLock<Vec<f32>>,
}

impl Linear {
    fn forward(
        &self,
        x: &[f32],
        x_shape: &Shape,
        w: &[f32],
        w_shape: &Shape,
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, k) = rows_and_columns("linear", x_shape)?;
        let (n, w_k) = w_shape.dims2()?;
        if k != w_k || bias.is_some_and(|b| b.len() != n) {
            bail!("linear: got x {x_shape:?}, weight {w_shape:?}, bias {:?}", bias.map(<[f32]>::len))
        }
        let mut y = uninit(t * n);
        product(t, n, k, &mut y, (x, k, 1), (w, 1, k));
        if let Some(bias) = bias {
            for_chunks(&mut y, (CHUNK / n.max(1)).max(1) * n, |_, rows| add_to_rows(rows, bias));
        }
        if let Some(activation) = self.activation {
            let mut out = uninit(t * n);
            for_chunks(&mut out, CHUNK, |i, out| activation.forward(&y[i..i + out.len()], out));
            let _ = self.pre.set(std::mem::replace(&mut y, out));
        }
        let mut dims = x_shape.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = n;
        }
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn backward(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let (n, k) = w.dims2()?;
        let t = x.elem_count() / k.max(1);
        with_f32(grad, |grad| {
            let through = match (self.activation, self.pre.get()) {
                (Some(activation), Some(pre)) => {
                    let mut g = uninit(t * n);
                    for_chunks(&mut g, CHUNK, |i, g| {
                        activation.backward(&pre[i..i + g.len()], &grad[i..i + g.len()], g);
                    });
                    Some(g)
                }
                (Some(_), None) => bail!("linear: backward before forward"),
                (None, _) => None,
            };
            let g = through.as_deref().unwrap_or(grad);
            let dx = wanted(x, || {
                with_f32(w, |w| {
                    let mut dx = uninit(t * k);
                    product(t, k, n, &mut dx, (g, n, 1), (w, k, 1));
                    tensor(dx, x.shape())
                })
            })?;
            let dw = wanted(w, || {
                with_f32(x, |x| {
                    let mut dw = uninit(n * k);
                    product(n, k, t, &mut dw, (g, 1, n), (x, k, 1));
                    tensor(dw, (n, k))
                })
            })?;
            let db = match bias {
                Some(bias) => wanted(bias, || tensor(sum_rows(g, n), n))?,
                None => None,
            };
            Ok([dx, dw, db])
        })
    }
}

fn wanted(arg: &Tensor, gradient: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    if arg.track_op() { gradient().map(Some) } else { Ok(None) }
}

/// `out [m, n] = a [m, k] b [k, n]`, operands given as (values, row stride, column stride).
fn product(m: usize, n: usize, k: usize, out: &mut [f32], a: (&[f32], usize, usize), b: (&[f32], usize, usize)) {
    debug_assert!(out.len() == m * n && a.0.len() == m * k && b.0.len() == k * n);
    if k == 0 {
        out.fill(0.0);
        return;
    }
    let operand = |(values, rows, columns): (&[f32], usize, usize)| Operand(values.as_ptr(), rows, columns);
    // SAFETY: the strides stay within the slices, whose lengths the callers derive from the same m, n, k.
    unsafe {
        super::product::product(
            [m, n, k],
            (out.as_mut_ptr(), n),
            false,
            (operand(a), operand(b)),
            1.0,
            Parallelism::Rayon(0),
        );
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (f32_slice("linear", x, xl)?, f32_slice("linear", w, wl)?, f32_slice("linear", b, bl)?);
        self.forward(x, xl.shape(), w, wl.shape(), Some(b))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = self.backward(x, w, Some(b), grad)?;
        Ok((dx, dw, db))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(f32_slice("linear", x, xl)?, xl.shape(), f32_slice("linear", w, wl)?, wl.shape(), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = self.backward(x, w, None, grad)?;
        Ok((dx, dw))
    }
}
