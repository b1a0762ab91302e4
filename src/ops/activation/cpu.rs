//! Activation functions on the CPU.

use super::function::Activation;
use crate::compute::math::{erf, exp, tanh};
use crate::compute::simd::vectorised;
use crate::compute::{CHUNK, Elements, for_chunks};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
/// Beyond this |x| the computed slope of tanh, 5e-7, is only rounding error.
const SATURATED: f32 = 7.9;

/// `gradient *= f'(pre)`, in parallel.
pub(in crate::ops) fn backward(pre: Elements, activation: Activation, gradient: &mut [f32]) {
    for_chunks(gradient, CHUNK, |i, gradient| scale_by_slope(activation, pre.range(i..i + gradient.len()), gradient));
}

/// `gradient *= f'(pre)`, for slices of equal length.
pub(in crate::ops) fn scale_by_slope(activation: Activation, pre: Elements, gradient: &mut [f32]) {
    pre.for_pieces(|start, pre| scale_piece(activation, pre, &mut gradient[start..start + pre.len()]));
}

vectorised! {
    /// `x = f(x)`.
    pub(in crate::ops) fn activate(activation: Activation, x: &mut [f32]) {
        match activation {
            Activation::Gelu => map_in_place(x, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
            Activation::GeluTanh => map_in_place(x, |x| 0.5 * x * (1.0 + tanh(inner(x)))),
            Activation::Silu => map_in_place(x, |x| x * sigmoid(x)),
            // Propagates NaN, which `max` would not.
            Activation::Relu => map_in_place(x, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::Tanh => map_in_place(x, tanh),
        }
    }
}

vectorised! {
    fn scale_piece(activation: Activation, pre: &[f32], grad: &mut [f32]) {
        match activation {
            Activation::Gelu => scale(pre, grad, |x| {
                const INV_SQRT_2PI: f32 = 0.398_942_3;
                let cdf = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                (x * INV_SQRT_2PI).mul_add(exp(-0.5 * x * x), cdf)
            }),
            Activation::GeluTanh => scale(pre, grad, |x| {
                let inner = inner(x);
                let t = tanh(inner);
                let slope = SQRT_2_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
                // The rounded `tanh` does not reach 1, and `x slope` grows as the cube of x, so the slope is set to 0.
                let tanh_slope = if inner.abs() < SATURATED { 1.0 - t * t } else { 0.0 };
                0.5 * (1.0 + t) + 0.5 * x * tanh_slope * slope
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
