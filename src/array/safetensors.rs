//! Conversion of arrays from and to safetensors.

use std::borrow::Cow;

use candle_core::safetensors::Load;
use candle_core::{DType, Device};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, View};

use super::{Array, Storage};
use crate::error::{Error, Result, without_backtrace};

impl TryFrom<&TensorView<'_>> for Array {
    type Error = Error;

    /// A copy as f32. Integers are an error.
    fn try_from(view: &TensorView<'_>) -> Result<Self> {
        let (bytes, shape) = (view.data(), view.shape());
        match view.dtype() {
            Dtype::F32 => Self::new(each(bytes, f32::from_le_bytes), shape),
            Dtype::F16 => Self::new(each(bytes, |b| f16::from_le_bytes(b).to_f32()), shape),
            Dtype::BF16 => Self::new(each(bytes, |b| bf16::from_le_bytes(b).to_f32()), shape),
            Dtype::F64 => Self::new(each(bytes, |b| f64::from_le_bytes(b) as f32), shape),
            _ => converted(view),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect()
}

/// Converts a tensor of another dtype through candle.
fn converted(view: &TensorView<'_>) -> Result<Array> {
    let unreadable = |e: candle_core::Error| Error::Weights(without_backtrace(e).to_string());
    let tensor = view.load(&Device::Cpu).map_err(unreadable)?;
    if !tensor.dtype().is_float() {
        return Err(Error::Weights(format!("got {:?}, expected floating point", tensor.dtype())));
    }
    Array::try_from(&tensor.to_dtype(DType::F32).map_err(unreadable)?)
}

impl View for Array {
    fn dtype(&self) -> Dtype {
        match self.dtype() {
            DType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.dims()
    }

    /// The array's own memory, or a copy if the values can be overwritten.
    fn data(&self) -> Cow<'_, [u8]> {
        let range = self.range();
        match &self.storage {
            Storage::F32(values) => bytemuck::cast_slice(&values[range]).into(),
            Storage::Bf16(values) => bytemuck::cast_slice(&values[range]).into(),
            Storage::Mapped(values) => bytemuck::cast_slice(&values[range]).into(),
            Storage::Overwritable(values) => {
                let values = values.read().unwrap_or_else(std::sync::PoisonError::into_inner);
                bytemuck::cast_slice(&values[range]).to_vec().into()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.elem_count() * self.dtype().size_in_bytes()
    }
}
