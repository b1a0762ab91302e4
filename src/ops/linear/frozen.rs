//! Frozen linear layers: the weight is read in place until packing it pays off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::magnitude::squared_lengths;
use crate::error::Result;
use crate::matmul::{Int8Weight, MAX_ROWS_UNPACKED, Packed, Precision, Rhs, RhsView};
use crate::ops::affine::Affine;

/// A linear layer with a constant weight, which is packed once for each direction, when that is worthwhile. Clones share
/// the packed weight.
#[derive(Clone)]
pub struct Frozen(Arc<Inner>);

struct Inner {
    map: Affine,
    precision: Precision,
    /// Whether a product of few rows was already computed without packing.
    multiplied: AtomicBool,
    weight: OnceLock<FrozenWeight>,
    /// For the gradient of the input; None if it is read in place.
    transposed: OnceLock<Option<Packed>>,
    /// The squared lengths of the rows.
    squares: OnceLock<Vec<f32>>,
}

pub(super) enum FrozenWeight {
    Float(Packed),
    Int8(Int8Weight),
}

impl Frozen {
    /// A frozen layer for products in `precision`.
    pub fn new(map: &Affine, precision: Precision) -> Self {
        Self(Arc::new(Inner {
            map: map.clone(),
            precision,
            multiplied: AtomicBool::new(false),
            weight: OnceLock::new(),
            transposed: OnceLock::new(),
            squares: OnceLock::new(),
        }))
    }

    pub(super) fn map(&self) -> &Affine {
        &self.0.map
    }

    pub(super) fn precision(&self) -> Precision {
        self.0.precision
    }

    /// The packed weight, packing it if necessary. None for the first product of few rows, which is faster without
    /// packing.
    pub(super) fn weight(&self, rows: usize) -> Result<Option<&FrozenWeight>> {
        let inner = &*self.0;
        if let Some(weight) = inner.weight.get() {
            return Ok(Some(weight));
        }
        if inner.precision != Precision::Int8
            && rows <= MAX_ROWS_UNPACKED
            && !inner.multiplied.swap(true, Ordering::Relaxed)
        {
            return Ok(None);
        }
        let weight = self.pack()?;
        Ok(Some(inner.weight.get_or_init(|| weight)))
    }

    fn pack(&self) -> Result<FrozenWeight> {
        let Inner { map, precision, .. } = &*self.0;
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

    /// The squared lengths of the rows of the weight, whose values are `weight`.
    pub(super) fn squares(&self, weight: &[f32]) -> &[f32] {
        self.0.squares.get_or_init(|| squared_lengths(weight, &self.0.map.part))
    }

    /// Calls `multiply` with the columns of the weight, whose values are `weight`.
    pub(super) fn with_columns<R>(&self, weight: &[f32], multiply: impl FnOnce(RhsView) -> R) -> R {
        let Inner { map, precision, transposed, .. } = &*self.0;
        let columns = || Rhs::new(map.part.columns(weight), *precision);
        let packed = transposed.get_or_init(|| match columns() {
            Rhs::Packed(packed) => Some(packed),
            Rhs::InPlace(_) => None,
        });
        match packed {
            Some(packed) => multiply(packed.whole()),
            None => multiply(columns().whole()),
        }
    }
}
