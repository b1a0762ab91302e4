//! The affine map `y = f(x W^T + b)` with an optional activation `f`.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`, as `torch.nn.Linear` stores them. Backward, with
//! `g = dy * f'(pre)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`; a side nobody asked for is not computed.
//! `x` may be f32 or bf16, and so may `y`, with which `pre` is kept in the same type.

use candle_core::{Shape, Tensor};

use super::activation::Activation;
use crate::autograd::{Op, Slot, Value};
use crate::compute::{
    Buffer, CHUNK, Operand, Storing, add_to_rows, for_chunks, operand, rows_and_columns, sum_rows, values,
};
use crate::error::{Error, Result};
use crate::product::{Format, Int8Weight, Lines, Output, Packed, Precision, product};

/// `f(x W^T + b)`: `x [.., K]`, `weight [N, K]`, `bias [N]`, which may be absent, to `[.., N]`.
pub fn linear(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    activation: Option<Activation>,
    format: impl Into<Format>,
) -> Result<Value> {
    let Format { precision, result } = format.into();
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let (n, k) = weight.tensor().dims2()?;
    let (t, shape) = output_shape(x, [n, k], bias)?;
    let keep = activation.is_some() && Value::differentiable(&inputs);
    let mut pre = Buffer::uninit(result, if keep { t * n } else { 0 });
    let y = {
        let (x, weight) = (operand(x.tensor())?, values(weight.tensor())?);
        let bias = bias.map(|bias| values(bias.tensor())).transpose()?;
        let kept = pre.shared();
        let weight = Packed::new(Lines::rows(&weight, n, k), precision);
        let finish = |row, column, y: &mut [f32]| {
            if let Some(bias) = &bias {
                add_to_rows(y, &bias[column..column + y.len()]);
            }
            if keep {
                // SAFETY: each piece of a row is finished once.
                unsafe { kept.copy_from(row * n + column, y) };
            }
            if let Some(activation) = activation {
                activation.forward(y);
            }
        };
        fill(result, [t, n], &finish, |out, finish| product(Lines::rows(&x, t, k), &weight, out, finish))
    };
    let through = activation.filter(|_| keep).map(|activation| (activation, pre));
    Ok(Value::computed(y.into_tensor(shape)?, &inputs, Linear { through, precision }))
}

/// Finishes a piece of a row that begins at a row and column.
type Finish<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// The `[t, n]` values that `product(out, finish)` makes, which takes them through `finish`.
fn fill(storing: Storing, [t, n]: [usize; 2], finish: Finish, product: impl FnOnce(Output, Finish)) -> Buffer {
    let mut y = Buffer::uninit(storing, t * n);
    match &mut y {
        Buffer::F32(y) => product(Output::new(y, n, false), finish),
        narrow @ Buffer::Bf16(_) => {
            let narrow = narrow.shared();
            product(Output::lent(), &|row, column, y| {
                finish(row, column, y);
                // SAFETY: each piece of a row is finished once.
                unsafe { narrow.copy_from(row * n + column, y) };
            });
        }
    }
    y
}

/// A weight `[N, K]` that does not change, packed once.
pub enum FrozenWeight {
    Float(Packed),
    Int8(Int8Weight),
}

impl FrozenWeight {
    /// Pack `weight [N, K]` for products in `precision`.
    pub fn new(weight: &Tensor, precision: Precision) -> Result<Self> {
        let (n, k) = weight.dims2()?;
        let weight: &[f32] = &values(weight)?;
        Ok(match precision {
            Precision::Int8 => Self::Int8(Int8Weight::new(weight, n, k)),
            _ => Self::Float(Packed::new(Lines::rows(weight, n, k), precision)),
        })
    }

    fn shape(&self) -> [usize; 2] {
        match self {
            Self::Float(weight) => weight.shape(),
            Self::Int8(weight) => weight.shape(),
        }
    }
}

/// As [`linear`] where nothing learns: `x` must be a constant, and f32 for a product in int8.
pub fn frozen_linear(
    x: &Value,
    weight: &FrozenWeight,
    bias: Option<&Value>,
    activation: Option<Activation>,
    result: Storing,
) -> Result<Value> {
    let [n, k] = weight.shape();
    let (t, shape) = output_shape(x, [n, k], bias)?;
    let inputs: Vec<&Value> = [x].into_iter().chain(bias).collect();
    if Value::differentiable(&inputs) {
        return Err(Error::internal("linear: a gradient is asked for through a packed weight"));
    }
    let y = {
        let x = operand(x.tensor())?;
        let bias = bias.map(|bias| values(bias.tensor())).transpose()?;
        let finish = |_, column: usize, y: &mut [f32]| {
            if let Some(bias) = &bias {
                add_to_rows(y, &bias[column..column + y.len()]);
            }
            if let Some(activation) = activation {
                activation.forward(y);
            }
        };
        match (weight, &x) {
            (FrozenWeight::Float(weight), x) => {
                fill(result, [t, n], &finish, |out, finish| product(Lines::rows(x, t, k), weight, out, finish))
            }
            (FrozenWeight::Int8(weight), Operand::F32(x)) => {
                fill(result, [t, n], &finish, |out, finish| weight.product(x, out, finish))
            }
            (FrozenWeight::Int8(_), Operand::Bf16(..)) => {
                return Err(Error::internal("linear: got bf16, expected f32 for a product in int8"));
            }
        }
    };
    Ok(Value::constant(y.into_tensor(shape)?))
}

/// The rows of `x`, and the shape of what comes out.
fn output_shape(x: &Value, [n, k]: [usize; 2], bias: Option<&Value>) -> Result<(usize, Shape)> {
    let (shape, bias) = (x.tensor().shape(), bias.map(|bias| bias.tensor().shape()));
    let (t, x_k) = rows_and_columns("linear", shape)?;
    if k != x_k || bias.is_some_and(|bias| bias.dims() != [n]) {
        return Err(Error::internal(format!("linear: got x {shape:?}, weight [{n}, {k}], bias {bias:?}")));
    }
    let mut dims = shape.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    Ok((t, Shape::from(dims)))
}

struct Linear {
    /// The activation and what went into it.
    through: Option<(Activation, Buffer)>,
    precision: Precision,
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
            let pre = pre.elements();
            for_chunks(&mut g, CHUNK, |i, g| activation.backward(pre.range(i..i + g.len()), g));
        }
        let precision = self.precision;
        let multiply = |rows: Lines, columns: Lines, out: &mut [f32], add: bool| {
            product(rows, &Packed::new(columns, precision), Output::new(out, k, add), |_, _, _| {});
        };
        if dx.wanted() {
            let w = values(w)?;
            dx.write(|dx, add| multiply(Lines::rows(&g, t, n), Lines::columns(&w, k, n), dx, add));
        }
        if dw.wanted() {
            let x = operand(x)?;
            dw.write(|dw, add| multiply(Lines::columns(&g, n, t), Lines::columns(&x, k, t), dw, add));
        }
        match db {
            [db] if db.wanted() => db.give(sum_rows(&g, n)),
            _ => Ok(()),
        }
    }
}
