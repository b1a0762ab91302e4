//! Arrays: a shape and a reference to values. All operations take and return this type.
//!
//! Values are contiguous and row-major. Most arrays never change, so they can be shared and sliced without a copy; only
//! the values of trainable parameters are changed in place, by [`Array::overwrite`].

mod candle;
mod safetensors;
mod values;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Shape};
use half::bf16;

use crate::compute::{Buffer, MappedValues};
use crate::error::{Error, Result};

pub(crate) use values::Operand;
pub use values::Values;

/// An array of f32, or of bf16. Cloning shares the values.
#[derive(Clone)]
pub struct Array {
    shape: Shape,
    storage: Storage,
    /// Index of the first value in the storage.
    start: usize,
}

/// The storage of values.
#[derive(Clone)]
enum Storage {
    F32(Arc<Vec<f32>>),
    Bf16(Arc<Vec<bf16>>),
    /// In a mapped file, read-only.
    Mapped(MappedValues),
    /// Values of a trainable parameter.
    Overwritable(Arc<RwLock<Vec<f32>>>),
}

impl Array {
    /// An array of these values, row-major.
    pub fn new(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Self> {
        let n = values.len();
        Self::checked(Storage::F32(Arc::new(values)), n, shape.into())
    }

    /// An array of the values of a buffer, row-major.
    pub(crate) fn from_buffer(buffer: Buffer, shape: impl Into<Shape>) -> Result<Self> {
        match buffer {
            Buffer::F32(values) => Self::new(values, shape),
            Buffer::Bf16(values) => {
                let n = values.len();
                Self::checked(Storage::Bf16(Arc::new(values)), n, shape.into())
            }
        }
    }

    /// An array of values in a mapped file, row-major.
    pub(crate) fn mapped(values: MappedValues, shape: impl Into<Shape>) -> Result<Self> {
        let n = values.len();
        Self::checked(Storage::Mapped(values), n, shape.into())
    }

    fn checked(storage: Storage, n: usize, shape: Shape) -> Result<Self> {
        let wanted = shape.dims().iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if wanted != Some(n) {
            return Err(Error::internal(format!("{n} values for an array of shape {shape:?}")));
        }
        Ok(Self { shape, storage, start: 0 })
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sizes of the dimensions.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Rows and columns; an error unless there are two dimensions.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        Ok(self.shape.dims2()?)
    }

    /// The number of values.
    pub fn elem_count(&self) -> usize {
        self.shape.elem_count()
    }

    /// F32 or BF16.
    pub fn dtype(&self) -> DType {
        match self.storage {
            Storage::Bf16(_) => DType::BF16,
            Storage::F32(_) | Storage::Mapped(_) | Storage::Overwritable(_) => DType::F32,
        }
    }

    fn range(&self) -> Range<usize> {
        self.start..self.start + self.elem_count()
    }

    /// The values of an f32 array. Do not hold them while they are overwritten.
    pub fn values(&self) -> Result<Values<'_>> {
        let range = self.range();
        match &self.storage {
            Storage::F32(values) => Ok(Values::of(&values[range])),
            Storage::Mapped(values) => Ok(Values::of(&values[range])),
            Storage::Overwritable(values) => {
                Ok(Values::locked(values.read().unwrap_or_else(PoisonError::into_inner), range))
            }
            Storage::Bf16(_) => Err(Error::internal("got an array of BF16, expected F32")),
        }
    }

    /// The values of an f32 array, to be changed for this array alone: if they are shared, they are copied first.
    pub fn values_mut(&mut self) -> Result<&mut [f32]> {
        let is_own = match &mut self.storage {
            Storage::F32(values) => Arc::get_mut(values).is_some(),
            _ => false,
        };
        if !is_own {
            *self = self.copy()?;
        }
        let range = self.range();
        match &mut self.storage {
            Storage::F32(values) => Ok(&mut Arc::make_mut(values)[range]),
            _ => Err(Error::internal("a copy has another storage")),
        }
    }

    /// The values of an f32 array; without a copy if the array owns all of its storage and shares it with nobody.
    pub fn into_vec(self) -> Result<Vec<f32>> {
        let n = self.elem_count();
        match self.storage {
            Storage::F32(values) if values.len() == n => {
                Ok(Arc::try_unwrap(values).unwrap_or_else(|shared| shared.to_vec()))
            }
            _ => Ok(self.values()?.to_vec()),
        }
    }

    /// The values as f32 or bf16, as stored.
    pub(crate) fn operand(&self) -> Result<Operand<'_>> {
        match &self.storage {
            Storage::Bf16(values) => Ok(Operand::Bf16(&values[self.range()])),
            Storage::F32(_) | Storage::Mapped(_) | Storage::Overwritable(_) => Ok(Operand::F32(self.values()?)),
        }
    }

    /// A slice: `n` entries of the first dimension, starting at `first`. Shares the values.
    pub fn rows(&self, first: usize, n: usize) -> Result<Self> {
        let [rows, rest @ ..] = self.dims() else {
            return Err(Error::internal("rows of a scalar"));
        };
        if first.checked_add(n).is_none_or(|end| end > *rows) {
            return Err(Error::internal(format!("{n} rows from {first} on of an array of shape {:?}", self.shape)));
        }
        let start = self.start + first * rest.iter().product::<usize>();
        Ok(Self { shape: [&[n], rest].concat().into(), storage: self.storage.clone(), start })
    }

    /// The entries of the first dimension, each an array of the other dimensions. They share the values.
    pub fn entries(&self) -> Result<Vec<Self>> {
        let entry = |i| {
            let rows = self.rows(i, 1)?;
            Ok(Self { shape: rows.dims()[1..].into(), ..rows })
        };
        (0..self.dims().first().copied().unwrap_or(0)).map(entry).collect()
    }

    /// Stack arrays of the same shape along a new first dimension; the inverse of [`Array::entries`].
    pub fn stack(entries: &[Self]) -> Result<Self> {
        let shape = entries.first().map_or(&[][..], Self::dims);
        let mut values = Vec::with_capacity(entries.iter().map(Self::elem_count).sum());
        for entry in entries {
            if entry.dims() != shape {
                return Err(Error::internal(format!("stack: got shapes {shape:?} and {:?}", entry.dims())));
            }
            values.extend_from_slice(&entry.values()?);
        }
        Self::new(values, [&[entries.len()], shape].concat())
    }

    /// A copy whose values cannot be overwritten.
    pub fn copy(&self) -> Result<Self> {
        Self::new(self.values()?.to_vec(), self.shape.clone())
    }

    /// A copy whose values can be overwritten.
    pub fn overwritable(&self) -> Result<Self> {
        let storage = Storage::Overwritable(Arc::new(RwLock::new(self.values()?.to_vec())));
        Ok(Self { shape: self.shape.clone(), storage, start: 0 })
    }

    /// Change the values in place, for all clones that share them. An error unless the array is
    /// [`Array::overwritable`].
    pub fn overwrite(&self, f: impl FnOnce(&mut [f32])) -> Result<()> {
        let Storage::Overwritable(values) = &self.storage else {
            return Err(Error::internal("the values of this array do not change"));
        };
        f(&mut values.write().unwrap_or_else(PoisonError::into_inner)[self.range()]);
        Ok(())
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({:?} {})", self.shape, self.dtype().as_str())
    }
}

/// The number of rows (product of all dimensions but the last) and of columns (the last dimension).
pub(crate) fn rows_and_columns(op: &str, shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [] => Err(Error::internal(format!("{op}: got a scalar, expected at least one dimension"))),
        [rows @ .., columns] => Ok((rows.iter().product(), *columns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_when_its_shape_does_not_fit_is_refused() {
        assert!(Array::new(vec![0.0; 5], (2, 3)).is_err());
        // The product of the dimensions overflows to 0.
        assert!(Array::new(Vec::new(), (1 << 32, 1 << 32)).is_err());
    }

    #[test]
    fn values_when_they_may_change_do_so_for_all_who_share_them() -> Result<()> {
        let first = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2))?;
        assert!(first.overwrite(|_| {}).is_err(), "they are shared with whoever reads them");
        let (changing, kept) = (first.overwritable()?, first.overwritable()?.copy()?);
        let shared = changing.rows(1, 2)?;
        changing.overwrite(|values| values[3] = 0.5)?;
        assert_eq!(*shared.values()?, [3.0, 0.5, 5.0, 6.0]);
        shared.overwrite(|values| values[0] = 7.0)?;
        assert_eq!(*changing.values()?, [1.0, 2.0, 7.0, 0.5, 5.0, 6.0]);
        assert_eq!((first.values()?[3], kept.values()?[3]), (4.0, 4.0));
        Ok(())
    }

    #[test]
    fn values_when_changed_for_one_array_stay_as_they_are_for_those_who_share_them() -> Result<()> {
        let mut array = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2))?;
        let there = array.values()?.as_ptr();
        array.values_mut()?[0] = 7.0;
        assert_eq!((array.values()?.as_ptr(), array.values()?[0]), (there, 7.0));
        let (shared, mut part) = (array.clone(), array.rows(1, 1)?);
        part.values_mut()?[1] = 8.0;
        assert_eq!((&*part.values()?, &*shared.values()?), (&[3.0, 8.0][..], &[7.0, 2.0, 3.0, 4.0, 5.0, 6.0][..]));
        let mut own = shared.overwritable()?;
        let learning = own.clone();
        own.values_mut()?[0] = 9.0;
        assert_eq!((own.values()?[0], learning.values()?[0]), (9.0, 7.0));
        drop(shared);
        assert_eq!(array.rows(1, 2)?.into_vec()?, [3.0, 4.0, 5.0, 6.0]);
        let values = array.into_vec()?;
        assert_eq!(values.as_ptr(), there);
        Ok(())
    }

    #[test]
    fn rows_when_beyond_the_last_are_refused() -> Result<()> {
        let array = Array::new((0..6).map(|i| i as f32).collect(), (3, 2))?;
        assert_eq!(*array.rows(1, 2)?.rows(1, 1)?.values()?, [4.0, 5.0]);
        let (parts, whole) = (array.entries()?, Array::stack(&array.entries()?)?);
        assert_eq!((parts.len(), parts[2].dims(), whole.dims()), (3, &[2][..], &[3, 2][..]));
        assert_eq!((&*parts[2].values()?, &*whole.values()?), (&[4.0, 5.0][..], &*array.values()?));
        assert!(Array::stack(&[array.clone(), parts[0].clone()]).is_err());
        assert!(array.rows(2, 2).is_err() && array.rows(usize::MAX, 2).is_err());
        assert!(Array::new(vec![1.0], ())?.rows(0, 1).is_err());
        Ok(())
    }
}
