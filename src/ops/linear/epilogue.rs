//! Operations fused after a linear layer, and the shape of the result.

use std::ops::Range;

use candle_core::Shape;

use super::cpu::FusedEpilogue;
use super::row_sum::RowSum;
use crate::array::{Values, rows_and_columns};
use crate::autograd::Var;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::affine::Affine;
use crate::ops::dropout::Dropout;

/// An activation, or dropout followed by a residual sum.
#[derive(Clone, Copy, Default)]
pub enum Epilogue<'a> {
    #[default]
    None,
    Activation(Activation),
    /// `dropout(x W^T + b) + residual`; the residual is f32 and has the shape of the result.
    AddResidual(&'a Var, Option<Dropout>),
}

impl From<Option<Activation>> for Epilogue<'_> {
    fn from(activation: Option<Activation>) -> Self {
        activation.map_or(Self::None, Self::Activation)
    }
}

/// The values of bias and residual.
pub(super) struct Operands<'a> {
    /// The stored bias, and the range of it that belongs to this layer's outputs.
    bias: Option<(Values<'a>, Range<usize>)>,
    residual: Option<Values<'a>>,
}

impl Epilogue<'_> {
    pub(super) fn residual(&self) -> Option<&Var> {
        match self {
            Self::AddResidual(residual, _) => Some(residual),
            _ => None,
        }
    }

    pub(super) fn dropout(&self) -> Option<Dropout> {
        match self {
            Self::AddResidual(_, dropout) => *dropout,
            _ => None,
        }
    }

    pub(super) fn activation(&self) -> Option<Activation> {
        match self {
            Self::Activation(activation) => Some(*activation),
            _ => None,
        }
    }

    pub(super) fn operands<'a>(&'a self, map: &'a Affine) -> Result<Operands<'a>> {
        let bias = map.bias.as_ref().map(|bias| bias.array().values()).transpose()?;
        Ok(Operands {
            bias: bias.map(|bias| (bias, map.part.outputs.clone())),
            residual: self.residual().map(|residual| residual.array().values()).transpose()?,
        })
    }

    /// The epilogue to apply to the rows of the product.
    pub(super) fn fused<'a>(
        &self,
        operands: &'a Operands,
        sums: &'a [RowSum<'a>],
        factors: Option<&'a [f32]>,
    ) -> FusedEpilogue<'a> {
        FusedEpilogue {
            bias: operands.bias.as_ref().map(|(bias, outputs)| &bias[outputs.clone()]),
            activation: self.activation(),
            dropout: self.dropout(),
            residual: operands.residual.as_deref(),
            sums,
            factors,
        }
    }
}

/// Number of rows of `x`, and the shape of the result.
pub(super) fn output_shape(x: &Var, [n, k]: [usize; 2], epilogue: &Epilogue) -> Result<(usize, Shape)> {
    let shape = x.array().shape();
    let (t, x_k) = rows_and_columns("linear", shape)?;
    let mut dims = shape.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    let residual = epilogue.residual().map(|residual| residual.array().dims());
    if k != x_k || residual.is_some_and(|residual| residual != dims) {
        return Err(Error::internal(format!("linear: got x {shape:?}, weight [{n}, {k}], residual {residual:?}")));
    }
    Ok((t, Shape::from(dims)))
}
