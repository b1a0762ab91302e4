//! Linear layer `y = x W^T + b`, fused with a following activation, or with dropout and a residual sum.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`. Backward, where `g` is the gradient of `x W^T + b`, that is
//! `dy`, `dy * f'(pre)` or `dropout(dy)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`, and `dy` for the
//! residual. Gradients that are not needed are not computed. `x` and `y` may be f32 or bf16; `pre`, the activation's
//! input, is kept in the dtype of `y`.

mod cpu;
mod frozen;
mod epilogue;

use super::activation::{self, Activation};
use super::affine::{Affine, Part};
use super::dropout::{self, Dropout};
use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::Buffer;
use crate::error::{Error, Result};
use crate::matmul::{Format, MatrixView, Packed, Precision};
pub use epilogue::Epilogue;
use epilogue::output_shape;
pub use frozen::{Frozen, frozen_linear};

/// Applies the layer `map` to `x [.., K]`, followed by `epilogue`: `[.., N]`.
pub fn linear(x: &Var, map: &Affine, epilogue: Epilogue, format: impl Into<Format>) -> Result<Var> {
    let Format { precision, result } = format.into();
    let inputs: Vec<&Var> = [x, &map.weight].into_iter().chain(&map.bias).chain(epilogue.residual()).collect();
    let [n, k] = map.shape();
    let (t, shape) = output_shape(x, [n, k], &epilogue)?;
    let keep = epilogue.activation().is_some() && Var::differentiable(&inputs);
    let (y, pre) = {
        let (x, weight) = (x.array().operand()?, map.weight.array().values()?);
        let weight = Packed::new(map.part.rows(&weight), precision);
        let product = cpu::Product::Packed(MatrixView::rows(&x, t, k), &weight);
        let operands = epilogue.operands(map)?;
        // SAFETY: the shape is that of the rows and of the weight.
        unsafe { cpu::forward(product, [t, n], &epilogue.fused(&operands), result, keep) }
    };
    let op = Linear {
        part: map.part.clone(),
        has_bias: map.bias.is_some(),
        through: epilogue.activation().zip(pre),
        dropout: epilogue.dropout(),
        precision,
    };
    Ok(Var::computed(Array::from_buffer(y, shape)?, &inputs, op))
}

struct Linear {
    part: Part,
    has_bias: bool,
    /// The activation function and its input.
    through: Option<(Activation, Buffer)>,
    dropout: Option<Dropout>,
    precision: Precision,
}

// SAFETY: gradients that are not added to are written completely.
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
        let (part, precision) = (&self.part, self.precision);
        let shape = gradient.shape().clone();
        let mut g = gradient.into_vec()?;
        if let Some((activation, pre)) = &self.through {
            activation::cpu::backward(pre.elements(), *activation, &mut g);
        }
        if let Some(dropout) = &self.dropout {
            if let Some(dr) = dr.take().filter(|dr| dr.wanted()) {
                dr.write(|dr, add| cpu::residual_gradient(&g, dr, add))?;
            }
            dropout::cpu::mask_all(dropout, &mut g);
        }
        if dx.wanted() {
            let w = w.values()?;
            dx.write(|dx, add| cpu::input_gradient(&g, &w, part, precision, dx, add))?;
        }
        if dw.wanted() {
            let x = x.operand()?;
            dw.write(|dw, add| cpu::weight_gradient(&g, x.elements(), part, precision, dw, add))?;
        }
        if let Some(db) = db.take().filter(|db| db.wanted()) {
            db.write(|db, add| cpu::bias_gradient(&g, part, db, add))?;
        }
        // Without dropout the gradient of the residual equals `dy`, so the same memory is handed over.
        match dr {
            Some(dr) => dr.give(Array::new(g, shape)?),
            None => Ok(()),
        }
    }
}
