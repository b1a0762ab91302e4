//! Reading candle tensors as slices, and making new ones without clearing memory first.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// The values of a contiguous f32 storage.
pub(super) fn f32_slice<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("{op}: got {:?}, expected f32", storage_dtype(storage)) };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("{op}: got a tensor of shape {:?} that is not contiguous", layout.shape()),
    }
}

fn storage_dtype(storage: &CpuStorage) -> DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// Run `f` on the values of an f32 CPU tensor, row-major.
pub fn with_f32<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(f32_slice("with_f32", storage, layout)?),
        _ => bail!("with_f32: got a tensor on {:?}, expected the CPU", tensor.device()),
    }
}

/// Overwrite the values of a contiguous f32 CPU tensor, in place.
pub fn overwrite(tensor: &Tensor, f: impl FnMut(&mut [f32])) -> Result<()> {
    struct Overwrite<F>(RefCell<F>);
    impl<F: FnMut(&mut [f32])> candle_core::InplaceOp1 for Overwrite<F> {
        fn name(&self) -> &'static str {
            "overwrite"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
                bail!("overwrite: expected a contiguous f32 tensor")
            };
            (self.0.borrow_mut())(&mut values[start..end]);
            Ok(())
        }
    }
    tensor.inplace_op1(&Overwrite(RefCell::new(f)))
}

/// A vector of `len` values that the caller overwrites, every one of them, before any is read.
///
/// Clearing first would touch every page once more than needed: fresh pages are the largest cost beside the products.
#[allow(clippy::uninit_vec)]
pub(super) fn uninit(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, any bit pattern is a valid f32, and callers write before they read.
    unsafe { values.set_len(len) };
    values
}

/// A tensor of new values.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// The last dimension and the product of the others.
pub(super) fn rows_and_columns(op: &str, shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [] => bail!("{op}: got a scalar, expected at least one dimension"),
        [rows @ .., columns] => Ok((rows.iter().product(), *columns)),
    }
}
