//! Frozen linear layers: the weight is read in place until packing it pays off.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cpu::{Product, forward};
use super::epilogue::{Epilogue, output_shape};
use crate::array::{Array, Operand};
use crate::autograd::Var;
use crate::compute::StorageDtype;
use crate::error::{Error, Result};
use crate::matmul::{Int8Weight, MAX_ROWS_UNPACKED, MatrixView, Packed, Precision};
use crate::ops::affine::Affine;

/// A linear layer with constant parameters. Its weight is packed once, when that is worthwhile.
pub struct Frozen {
    map: Affine,
    precision: Precision,
    /// Whether a product of few rows was already computed without packing.
    multiplied: AtomicBool,
    weight: OnceLock<FrozenWeight>,
}

enum FrozenWeight {
    Float(Packed),
    Int8(Int8Weight),
}

impl Frozen {
    /// A frozen layer for products in `precision`.
    pub fn new(map: &Affine, precision: Precision) -> Self {
        Self { map: map.clone(), precision, multiplied: AtomicBool::new(false), weight: OnceLock::new() }
    }

    /// The packed weight, packing it if necessary. None for the first product of few rows, which is faster without
    /// packing.
    fn weight(&self, rows: usize) -> Result<Option<&FrozenWeight>> {
        if let Some(weight) = self.weight.get() {
            return Ok(Some(weight));
        }
        if self.precision != Precision::Int8
            && rows <= MAX_ROWS_UNPACKED
            && !self.multiplied.swap(true, Ordering::Relaxed)
        {
            return Ok(None);
        }
        let weight = self.pack()?;
        Ok(Some(self.weight.get_or_init(|| weight)))
    }

    fn pack(&self) -> Result<FrozenWeight> {
        let Self { map, precision, .. } = self;
        let [n, k] = map.shape();
        let values: &[f32] = &map.weight.array().values()?;
        Ok(match precision {
            Precision::Int8 if map.part.input_major => {
                let (start, stride) = map.part.place();
                let rows = (0..n).flat_map(|row| (0..k).map(move |column| values[start + column * stride + row]));
                FrozenWeight::Int8(Int8Weight::new(&rows.collect::<Vec<f32>>(), n, k))
            }
            Precision::Int8 => FrozenWeight::Int8(Int8Weight::new(&values[map.part.place().0..][..n * k], n, k)),
            _ => FrozenWeight::Float(Packed::new(map.part.rows(values), *precision)),
        })
    }
}

/// Like [`linear`](super::linear) but without gradients: `x`, residual and bias must be constants, and `x` f32 for a
/// product in int8.
pub fn frozen_linear(x: &Var, frozen: &Frozen, epilogue: Epilogue, result: StorageDtype) -> Result<Var> {
    let Frozen { map, precision, .. } = frozen;
    let [n, k] = map.shape();
    let (t, shape) = output_shape(x, [n, k], &epilogue)?;
    let inputs: Vec<&Var> = [x].into_iter().chain(&map.bias).chain(epilogue.residual()).collect();
    if Var::differentiable(&inputs) {
        return Err(Error::internal("linear: a gradient is asked for through a packed weight"));
    }
    if k == 0 && *precision == Precision::Int8 {
        return Err(Error::internal("linear: a product in int8 of no columns"));
    }
    let y = {
        let x = x.array().operand()?;
        let rows = || MatrixView::rows(&x, t, k);
        let unpacked;
        let product = match (frozen.weight(t)?, &x) {
            (None, _) => {
                unpacked = map.weight.array().values()?;
                Product::Once(rows(), map.part.rows(&unpacked), *precision)
            }
            (Some(FrozenWeight::Float(weight)), _) => Product::Packed(rows(), weight),
            (Some(FrozenWeight::Int8(weight)), Operand::F32(x)) => Product::Int8(x, weight),
            (Some(FrozenWeight::Int8(_)), Operand::Bf16(..)) => {
                return Err(Error::internal("linear: got bf16, expected f32 for a product in int8"));
            }
        };
        let operands = epilogue.operands(map)?;
        // SAFETY: the shape is that of the rows and of the weight; no columns in int8 were refused.
        unsafe { forward(product, [t, n], &epilogue.fused(&operands), result, false) }.0
    };
    Ok(Var::constant(Array::from_buffer(y, shape)?))
}
