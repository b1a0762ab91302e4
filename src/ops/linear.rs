//! The affine map `y = x W^T + b`, and what follows it: an activation, or dropout and the sum with a residual.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`. Backward, with `g` the gradient of `x W^T + b`, that is `dy`,
//! `dy * f'(pre)` or `dropout(dy)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`, of the residual `dy`; a side nobody
//! asked for is not computed. `x` may be f32 or bf16, and so may `y`, with which `pre` is kept in the same type.

use candle_core::Shape;

use super::activation::Activation;
use super::affine::{Affine, Part};
use super::dropout::Dropout;
use crate::array::{Array, Values, rows_and_columns};
use crate::autograd::{Op, Slot, Value};
use crate::compute::{Buffer, CHUNK, SharedBuffer, Storing, add_rows, add_to_rows, for_chunks, sum_rows};
use crate::error::{Error, Result};
use crate::product::{Format, Lines, Output, Packed, Precision, Right, product};

/// What follows the map.
#[derive(Clone, Copy, Default)]
pub enum Then<'a> {
    #[default]
    Nothing,
    Activate(Activation),
    /// `dropout(x W^T + b) + residual`, which is f32 and of the result's shape.
    Add(&'a Value, Option<Dropout>),
}

impl From<Option<Activation>> for Then<'_> {
    fn from(activation: Option<Activation>) -> Self {
        activation.map_or(Self::Nothing, Self::Activate)
    }
}

impl Then<'_> {
    pub(super) fn residual(&self) -> Option<&Value> {
        match self {
            Self::Add(residual, _) => Some(residual),
            _ => None,
        }
    }

    fn dropout(&self) -> Option<Dropout> {
        match self {
            Self::Add(_, dropout) => *dropout,
            _ => None,
        }
    }

    fn activation(&self) -> Option<Activation> {
        match self {
            Self::Activate(activation) => Some(*activation),
            _ => None,
        }
    }
}

/// `map` of `x [.., K]`, then what `then` says: `[.., N]`.
pub fn linear(x: &Value, map: &Affine, then: Then, format: impl Into<Format>) -> Result<Value> {
    let Format { precision, result } = format.into();
    let inputs: Vec<&Value> = [x, &map.weight].into_iter().chain(&map.bias).chain(then.residual()).collect();
    let [n, k] = map.shape();
    let (t, shape) = output_shape(x, [n, k], &then)?;
    let keep = then.activation().is_some() && Value::differentiable(&inputs);
    // SAFETY: what is kept is written as rows are finished, each of them.
    let mut pre = unsafe { Buffer::uninit(result, if keep { t * n } else { 0 }) };
    let y = {
        let (x, weight) = (x.array().operand()?, map.weight.array().values()?);
        let weight = Packed::new(map.part.rows(&weight), precision);
        // SAFETY: `fill` finishes each piece once.
        let ending = unsafe { Ending::new(map, &then, keep.then(|| pre.shared())) }?;
        let finish = |row, column, y: &mut [f32]| ending.finish(row, column, y);
        // SAFETY: that is what a product does.
        unsafe {
            fill(result, [t, n], &finish, |out, finish| product(Lines::rows(&x, t, k), weight.whole(), out, finish))
        }
    };
    let through = then.activation().filter(|_| keep).map(|activation| (activation, pre));
    let op =
        Linear { part: map.part.clone(), has_bias: map.bias.is_some(), through, dropout: then.dropout(), precision };
    Ok(Value::computed(Array::from_buffer(y, shape)?, &inputs, op))
}

/// What is done to the rows of a product while they are in the cache.
pub(super) struct Ending<'a> {
    columns: usize,
    bias: Option<Values<'a>>,
    first_bias: usize,
    /// Where what goes into the activation is kept.
    kept: Option<SharedBuffer<'a>>,
    activation: Option<Activation>,
    dropout: Option<Dropout>,
    residual: Option<Values<'a>>,
}

impl<'a> Ending<'a> {
    /// # Safety
    ///
    /// Each piece of a row is finished once.
    pub(super) unsafe fn new(map: &'a Affine, then: &'a Then, kept: Option<SharedBuffer<'a>>) -> Result<Self> {
        Ok(Self {
            columns: map.shape()[0],
            bias: map.bias.as_ref().map(|bias| bias.array().values()).transpose()?,
            first_bias: map.part.outputs.start,
            kept,
            activation: then.activation(),
            dropout: then.dropout(),
            residual: then.residual().map(|residual| residual.array().values()).transpose()?,
        })
    }

    /// `y` is the piece of a row that begins at `column`.
    pub(super) fn finish(&self, row: usize, column: usize, y: &mut [f32]) {
        let start = row * self.columns + column;
        if let Some(bias) = &self.bias {
            add_to_rows(y, &bias[self.first_bias + column..][..y.len()]);
        }
        if let Some(kept) = &self.kept {
            // SAFETY: each piece of a row is finished once, as was promised when this was made.
            unsafe { kept.copy_from(start, y) };
        }
        if let Some(activation) = self.activation {
            activation.forward(y);
        }
        if let Some(dropout) = &self.dropout {
            dropout.mask(start, y);
        }
        if let Some(residual) = &self.residual {
            let residual = &residual[start..start + y.len()];
            add_rows(y, residual);
        }
    }
}

/// Finishes a piece of a row that begins at a row and column.
pub(super) type Finish<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// The `[t, n]` values that `product(out, finish)` makes, which takes them through `finish`.
///
/// # Safety
///
/// `product` sets all of them, and finishes each piece of a row once.
pub(super) unsafe fn fill(
    storing: Storing,
    [t, n]: [usize; 2],
    finish: Finish,
    product: impl FnOnce(Output, Finish),
) -> Buffer {
    // SAFETY: the product writes them all, or finishes every row, which is then copied.
    let mut y = unsafe { Buffer::uninit(storing, t * n) };
    match &mut y {
        Buffer::F32(y) => product(Output::new(y, n, false), finish),
        narrow @ Buffer::Bf16(_) => {
            let narrow = narrow.shared();
            product(Output::lent(), &|row, column, y| {
                finish(row, column, y);
                // SAFETY: each piece of a row is finished once, as the caller promises.
                unsafe { narrow.copy_from(row * n + column, y) };
            });
        }
    }
    y
}

/// The rows of `x`, and the shape of what comes out.
pub(super) fn output_shape(x: &Value, [n, k]: [usize; 2], then: &Then) -> Result<(usize, Shape)> {
    let shape = x.array().shape();
    let (t, x_k) = rows_and_columns("linear", shape)?;
    let mut dims = shape.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    let residual = then.residual().map(|residual| residual.array().dims());
    if k != x_k || residual.is_some_and(|residual| residual != dims) {
        return Err(Error::internal(format!("linear: got x {shape:?}, weight [{n}, {k}], residual {residual:?}")));
    }
    Ok((t, Shape::from(dims)))
}

struct Linear {
    part: Part,
    has_bias: bool,
    /// The activation and what went into it.
    through: Option<(Activation, Buffer)>,
    dropout: Option<Dropout>,
    precision: Precision,
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let ([x, w, ..], [dx, dw, rest @ ..]) = (inputs, into) else {
            return Err(Error::internal("got fewer than two inputs"));
        };
        let (mut db, mut dr) = match rest {
            [db, dr @ ..] if self.has_bias => (Some(db), dr.first_mut()),
            dr => (None, dr.first_mut()),
        };
        let ([n, k], precision) = (self.part.shape(), self.precision);
        let t = x.elem_count() / k.max(1);
        let shape = gradient.shape().clone();
        let mut g = gradient.into_vec()?;
        if let Some((activation, pre)) = &self.through {
            let pre = pre.elements();
            for_chunks(&mut g, CHUNK, |i, g| activation.backward(pre.range(i..i + g.len()), g));
        }
        if let Some(dropout) = &self.dropout {
            if let Some(dr) = dr.take().filter(|dr| dr.wanted()) {
                dr.write(|dr, add| if add { crate::compute::add(dr, &g) } else { dr.copy_from_slice(&g) })?;
            }
            for_chunks(&mut g, CHUNK, |start, g| dropout.mask(start, g));
        }
        if dx.wanted() {
            let w = w.values()?;
            let w = Right::new(self.part.columns(&w), precision);
            dx.write(|dx, add| product(Lines::rows(&g, t, n), w.whole(), Output::new(dx, k, add), |_, _, _| {}))?;
        }
        if dw.wanted() {
            let x = x.operand()?;
            dw.write(|dw, add| self.weight_gradient(&g, Lines::columns(&x, k, t), dw, add))?;
        }
        if let Some(db) = db.take().filter(|db| db.wanted()) {
            let sum = sum_rows(&g, n);
            db.write(|db, add| {
                clear_unless(db, add);
                add_rows(&mut db[self.part.outputs.clone()], &sum);
            })?;
        }
        // Without dropout the gradient of the residual is that of the sum, the memory itself.
        match dr {
            Some(dr) => dr.give(Array::new(g, shape)?),
            None => Ok(()),
        }
    }
}

impl Linear {
    /// `dW (+)= g^T x`, of `x` given as its columns.
    fn weight_gradient(&self, g: &[f32], x: Lines, dw: &mut [f32], add: bool) {
        let ([n, _], t) = (self.part.shape(), x.depth);
        if !self.part.is_whole() {
            clear_unless(dw, add);
        }
        let add = add || !self.part.is_whole();
        let (start, stride) = self.part.place();
        let g = Lines::columns(g, n, t);
        let (rows, columns) = if self.part.input_major { (x, g) } else { (g, x) };
        let out = Output::new(&mut dw[start..], stride, add);
        product(rows, Right::new(columns, self.precision).whole(), out, |_, _, _| {});
    }
}

/// What other maps contribute to comes before or after: what is not there yet is zero.
fn clear_unless(gradient: &mut [f32], add: bool) {
    if !add {
        for_chunks(gradient, CHUNK, |_, gradient| gradient.fill(0.0));
    }
}
