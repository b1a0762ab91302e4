//! Activation functions, applied inside [`super::linear`] as a rule.
//!
//! `gelu(x) = x/2 (1 + erf(x / sqrt 2))`, `gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
//! (Hendrycks and Gimpel 2016), `silu(x) = x / (1 + exp(-x))` (also called swish), `relu`, `tanh`.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::math::{erf, exp, tanh};
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, CHUNK, Elements, Storing, for_chunks};
use crate::error::Result;

/// A function applied to every element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// The exact form, with the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// The approximation with the hyperbolic tangent.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "tanh")]
    Tanh,
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

impl Activation {
    /// `x = f(x)`.
    pub(super) fn forward(self, x: &mut [f32]) {
        forward(self, x);
    }

    /// `grad *= f'(pre)`, for slices of equal length.
    pub(super) fn backward(self, pre: Elements, grad: &mut [f32]) {
        pre.for_pieces(|start, pre| backward(self, pre, &mut grad[start..start + pre.len()]));
    }
}

/// `f(x)` by itself: `y` is of the type of `x`.
pub fn activate(x: &Value, activation: Activation) -> Result<Value> {
    let operand = x.array().operand()?;
    let mut values = vec![0f32; x.array().elem_count()];
    operand.elements().copy_to(&mut values);
    for_chunks(&mut values, CHUNK, |_, values| activation.forward(values));
    let storing = if x.array().dtype() == DType::BF16 { Storing::Bf16 } else { Storing::F32 };
    // SAFETY: all of it is written.
    let mut y = unsafe { Buffer::uninit(storing, values.len()) };
    // SAFETY: nobody else writes.
    unsafe { y.shared().copy_from(0, &values) };
    Ok(Value::computed(Array::from_buffer(y, x.array().shape())?, &[x], Activate(activation)))
}

struct Activate(Activation);

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn backward(&self, inputs: &[&Array], mut dy: Array, into: &mut [Slot]) -> Result<()> {
        let x = inputs[0].operand()?;
        for_chunks(dy.values_mut()?, CHUNK, |i, dy| self.0.backward(x.elements().range(i..i + dy.len()), dy));
        into[0].give(dy)
    }
}

vectorised! {
    fn forward(activation: Activation, x: &mut [f32]) {
        match activation {
            Activation::Gelu => map_in_place(x, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
            Activation::GeluTanh => map_in_place(x, |x| 0.5 * x * (1.0 + tanh(inner(x)))),
            Activation::Silu => map_in_place(x, |x| x * sigmoid(x)),
            // A NaN stays one, which `max` would not keep.
            Activation::Relu => map_in_place(x, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::Tanh => map_in_place(x, tanh),
        }
    }
}

vectorised! {
    fn backward(activation: Activation, pre: &[f32], grad: &mut [f32]) {
        match activation {
            Activation::Gelu => scale(pre, grad, |x| {
                const INV_SQRT_2PI: f32 = 0.398_942_3;
                let cdf = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                (x * INV_SQRT_2PI).mul_add(exp(-0.5 * x * x), cdf)
            }),
            Activation::GeluTanh => scale(pre, grad, |x| {
                let t = tanh(inner(x));
                let slope = SQRT_2_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
            }),
            Activation::Silu => scale(pre, grad, |x| {
                let s = sigmoid(x);
                s * (1.0 - s).mul_add(x, 1.0)
            }),
            Activation::Relu => scale(pre, grad, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Tanh => scale(pre, grad, |x| {
                let t = tanh(x);
                1.0 - t * t
            }),
        }
    }
}

#[inline(always)]
fn inner(x: f32) -> f32 {
    SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn map_in_place(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
fn scale(x: &[f32], grad: &mut [f32], f: impl Fn(f32) -> f32) {
    grad.iter_mut().zip(x).for_each(|(g, &x)| *g *= f(x));
}
