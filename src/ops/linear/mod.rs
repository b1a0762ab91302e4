//! Linear layer `y = x W^T + b`, fused with a following activation, or with dropout and a residual sum.
//!
//! Shapes: `x [.., K]`, `W [N, K]`, `b [N]`, `y [.., N]`. Backward, where `g` is the gradient of `x W^T + b`, that is
//! `dy`, `dy * f'(pre)` or `dropout(dy)`: `dx = g W`, `dW = g^T x`, `db = sum over rows of g`, and `dy` for the
//! residual. Low-rank terms `s B (A x)` are added to `x W^T`: `dx` has `s g B A` more, `dB = s g^T (x A^T)`,
//! `dA = s (g B)^T x`. Gradients that are not needed are not computed. `x` and `y` may be f32 or bf16; `pre`, the activation's
//! input, is kept in the dtype of `y`.

mod cpu;
mod epilogue;
mod frozen;
mod low_rank;
mod magnitude;
mod row_sum;

use super::activation::{self, Activation};
use super::affine::{Affine, Part};
use super::dropout::{self, Dropout};
use crate::array::{Array, Operand};
use crate::autograd::{Op, Slot, Var};
use crate::compute::{Buffer, StorageDtype};
use crate::error::{Error, Result};
use crate::matmul::{Format, MatrixView, Packed, Precision, Rhs};
pub use epilogue::Epilogue;
use epilogue::output_shape;
pub use frozen::Frozen;
use frozen::FrozenWeight;
use low_rank::Kept;
pub use low_rank::LowRankTerm;
pub use magnitude::Magnitude;
use magnitude::{Scaled, squared_lengths};
use row_sum::RowSum;

/// What adapters add to a linear layer.
#[derive(Default)]
pub struct Added {
    pub terms: Vec<LowRankTerm>,
    /// The lengths that the rows of the weight with its one term are scaled to.
    pub magnitude: Option<Magnitude>,
}

#[cfg(test)]
impl Added {
    /// No adapters.
    pub const NONE: Self = Self { terms: Vec::new(), magnitude: None };
}

/// Applies the layer `map` with its low-rank terms to `x [.., K]`, followed by `epilogue`: `[.., N]`. The weight is
/// packed anew.
pub fn linear(x: &Var, map: &Affine, added: &Added, epilogue: Epilogue, format: impl Into<Format>) -> Result<Var> {
    apply(x, map, None, added, epilogue, format.into())
}

/// Like [`linear`], of a layer whose weight is constant and packed once; a product in int8 takes `x` in f32 and gives no
/// gradient.
pub fn frozen_linear(x: &Var, frozen: &Frozen, added: &Added, epilogue: Epilogue, result: StorageDtype) -> Result<Var> {
    let format = Format { precision: frozen.precision(), result };
    apply(x, frozen.map(), Some(frozen), added, epilogue, format)
}

fn apply(
    x: &Var,
    map: &Affine,
    frozen: Option<&Frozen>,
    added: &Added,
    epilogue: Epilogue,
    Format { precision, result }: Format,
) -> Result<Var> {
    let Added { terms, magnitude } = added;
    let of_added =
        terms.iter().flat_map(LowRankTerm::inputs).chain(magnitude.iter().map(|magnitude| &magnitude.lengths));
    let inputs: Vec<&Var> =
        [x, &map.weight].into_iter().chain(&map.bias).chain(epilogue.residual()).chain(of_added).collect();
    let [n, k] = map.shape();
    let (t, shape) = output_shape(x, [n, k], &epilogue)?;
    let learns = Var::differentiable(&inputs);
    if frozen.is_some() && (Var::differentiable(&[&map.weight]) || (learns && precision == Precision::Int8)) {
        return Err(Error::internal("linear: a gradient is asked for through a packed weight"));
    }
    if k == 0 && precision == Precision::Int8 {
        return Err(Error::internal("linear: a product in int8 of no columns"));
    }
    // Products with the few rows of a low-rank term gain nothing from int8.
    let low_precision = if precision == Precision::Int8 { Precision::F32 } else { precision };
    let (y, pre, kept, scaled) = {
        let x = x.array().operand()?;
        let rows = || MatrixView::rows(&x, t, k);
        let (packed, unpacked);
        let product = match (frozen.map(|frozen| frozen.weight(t)).transpose()?, &x) {
            (None, _) => {
                packed = Packed::new(map.part.rows(&*map.weight.array().values()?), precision);
                cpu::Product::Packed(rows(), &packed)
            }
            (Some(None), _) => {
                unpacked = map.weight.array().values()?;
                cpu::Product::Once(rows(), map.part.rows(&*unpacked), precision)
            }
            (Some(Some(FrozenWeight::Float(weight))), _) => cpu::Product::Packed(rows(), weight),
            (Some(Some(FrozenWeight::Int8(weight))), Operand::F32(x)) => cpu::Product::Int8(x, weight),
            (Some(Some(FrozenWeight::Int8(_))), Operand::Bf16(..)) => {
                return Err(Error::internal("linear: got bf16, expected f32 for a product in int8"));
            }
        };
        let kept = terms.iter().map(|term| term.begin(x.elements(), t, [n, k], low_precision));
        let kept: Vec<Kept> = kept.collect::<Result<_>>()?;
        let columns = terms.iter().map(LowRankTerm::scaled_columns).collect::<Result<Vec<_>>>()?;
        let sums: Vec<RowSum> = kept.iter().zip(&columns).map(|(kept, columns)| kept.sum(columns)).collect();
        let scaled = match (magnitude, &terms[..]) {
            (None, _) => None,
            (Some(magnitude), [term]) => {
                let weight = map.weight.array().values()?;
                let own;
                let squares = if let Some(frozen) = frozen {
                    frozen.squares(&weight)
                } else {
                    own = squared_lengths(&weight, &map.part);
                    &own
                };
                Some(magnitude.begin(&weight, &map.part, squares, term)?)
            }
            (Some(_), _) => return Err(Error::internal("linear: lengths are of a weight with one low-rank term")),
        };
        let operands = epilogue.operands(map)?;
        let keep = (epilogue.activation().is_some() || scaled.is_some()) && learns;
        let fused = epilogue.fused(&operands, &sums, scaled.as_ref().map(|scaled| &scaled.factors[..]));
        // SAFETY: the shape is that of the rows and of the weight; no columns in int8 were refused.
        let (y, pre) = unsafe { cpu::forward(product, [t, n], &fused, result, keep) };
        (y, pre, kept, scaled)
    };
    let op = Linear {
        part: map.part.clone(),
        frozen: frozen.cloned(),
        has_bias: map.bias.is_some(),
        has_residual: epilogue.residual().is_some(),
        activation: epilogue.activation(),
        pre,
        dropout: epilogue.dropout(),
        terms: kept,
        scaled,
        precision,
    };
    Ok(Var::computed(Array::from_buffer(y, shape)?, &inputs, op))
}

struct Linear {
    part: Part,
    /// The packed weight, if it is constant.
    frozen: Option<Frozen>,
    has_bias: bool,
    has_residual: bool,
    activation: Option<Activation>,
    /// The outputs with their bias: the activation's input, and what the gradient of lengths is found from.
    pre: Option<Buffer>,
    dropout: Option<Dropout>,
    terms: Vec<Kept>,
    scaled: Option<Scaled>,
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
        let (bias, rest) = rest.split_at_mut(usize::from(self.has_bias));
        let (residual, rest) = rest.split_at_mut(usize::from(self.has_residual));
        let (of_terms, magnitude) = rest.split_at_mut(2 * self.terms.len());
        let of_added = &inputs[inputs.len() - of_terms.len() - magnitude.len()..];
        let (db, mut dr) = (bias.first_mut(), residual.first_mut());
        let (part, precision) = (&self.part, self.precision);
        let shape = gradient.shape().clone();
        let mut g = gradient.into_vec()?;
        if let (Some(activation), Some(pre)) = (&self.activation, &self.pre) {
            activation::cpu::backward(pre.elements(), *activation, &mut g);
        }
        if (self.dropout.is_some() || self.scaled.is_some())
            && let Some(dr) = dr.take().filter(|dr| dr.wanted())
        {
            dr.write(|dr, add| cpu::residual_gradient(&g, dr, add))?;
        }
        if let Some(dropout) = &self.dropout {
            dropout::cpu::mask_all(dropout, &mut g);
        }
        if let Some(db) = db.filter(|db| db.wanted()) {
            db.write(|db, add| cpu::bias_gradient(&g, part, db, add))?;
        }
        if let (Some(scaled), Some(pre)) = (&self.scaled, &self.pre) {
            let [m] = &of_added[of_terms.len()..] else { return Err(Error::internal("the lengths are missing")) };
            let (m, bias) = (m.values()?, self.has_bias.then(|| inputs[2].values()).transpose()?);
            let bias = bias.as_deref().map(|bias| &bias[part.outputs.clone()]);
            if let Some(dm) = magnitude.first_mut().filter(|dm| dm.wanted()) {
                dm.write(|dm, add| scaled.lengths_gradient((&g, pre.elements()), bias, &m, dm, add))?;
            }
            scaled.scale(&mut g);
        }
        let x = x.operand()?;
        let values = low_rank::values_of(&of_added[..of_terms.len()])?;
        let low = self.terms.iter().zip(&values).map(|(term, [_, b])| term.low_gradient(&g, b, precision));
        let low: Vec<Vec<f32>> = low.collect();
        if dx.wanted() {
            let w = w.values()?;
            let sums = self.terms.iter().zip(&values).zip(&low).map(|((term, [a, _]), low)| term.input_sum(low, a));
            let sums: Vec<RowSum> = sums.collect();
            dx.write(|dx, add| match &self.frozen {
                Some(frozen) => frozen.with_columns(&w, |w| cpu::input_gradient(&g, w, &sums, dx, add)),
                None => cpu::input_gradient(&g, Rhs::new(part.columns(&*w), precision).whole(), &sums, dx, add),
            })?;
        }
        if dw.wanted() {
            dw.write(|dw, add| cpu::weight_gradient(&g, x.elements(), part, precision, dw, add))?;
        }
        for ((term, low), slots) in self.terms.iter().zip(&low).zip(of_terms.chunks_exact_mut(2)) {
            if let [da, db] = slots {
                term.write(&g, x.elements(), low, [da, db], precision)?;
            }
        }
        // Otherwise the gradient of the residual equals `dy`, so the same memory is handed over.
        match dr {
            Some(dr) => dr.give(Array::new(g, shape)?),
            None => Ok(()),
        }
    }
}
