//! Reading candle tensors as slices, and making new ones without clearing memory first.

use std::cell::RefCell;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Layout, Shape, Storage, StorageRef, Tensor};

use crate::error::{Error, Result};

/// The values of an f32 CPU tensor, row-major; read as a slice.
pub struct Values<'a>(Source<'a>);

enum Source<'a> {
    /// Checked to be f32 on the CPU.
    InPlace(StorageRef<'a>, Range<usize>),
    Copied(Vec<f32>),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Source::InPlace(storage, range) => match &**storage {
                Storage::Cpu(CpuStorage::F32(values)) => &values[range.clone()],
                _ => unreachable!("checked where it was made"),
            },
            Source::Copied(values) => values,
        }
    }
}

/// The values of `tensor`, row-major: a view where it is contiguous, else a copy. Not f32, or not on the CPU, is an error.
pub fn values(tensor: &Tensor) -> Result<Values<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(_)) = &*storage else {
        let (dtype, device) = (tensor.dtype(), tensor.device());
        return Err(Error::internal(format!("got a tensor of {dtype:?} on {device:?}, expected F32 on the CPU")));
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(Values(Source::InPlace(storage, start..end))),
        None => Ok(Values(Source::Copied(tensor.flatten_all()?.to_vec1()?))),
    }
}

/// Overwrite the values of a contiguous f32 CPU tensor, in place.
pub fn overwrite(tensor: &Tensor, f: impl FnMut(&mut [f32])) -> Result<()> {
    struct Overwrite<F>(RefCell<F>);
    impl<F: FnMut(&mut [f32])> candle_core::InplaceOp1 for Overwrite<F> {
        fn name(&self) -> &'static str {
            "overwrite"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
                candle_core::bail!("overwrite: expected a contiguous f32 tensor")
            };
            (self.0.borrow_mut())(&mut values[start..end]);
            Ok(())
        }
    }
    Ok(tensor.inplace_op1(&Overwrite(RefCell::new(f)))?)
}

/// A vector of `len` values that the caller overwrites, every one of them, before any is read.
///
/// Clearing first would touch every page once more than needed: fresh pages are the largest cost beside the products.
#[allow(clippy::uninit_vec)]
pub(crate) fn uninit(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, any bit pattern is a valid f32, and callers write before they read.
    unsafe { values.set_len(len) };
    values
}

/// A tensor of new values.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape.into(), &Device::Cpu)?)
}

/// The last dimension and the product of the others.
pub(crate) fn rows_and_columns(op: &str, shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [] => Err(Error::internal(format!("{op}: got a scalar, expected at least one dimension"))),
        [rows @ .., columns] => Ok((rows.iter().product(), *columns)),
    }
}
