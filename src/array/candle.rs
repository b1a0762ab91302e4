//! Conversion of arrays from and to candle's tensors.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Array, Storage};
use crate::compute::Buffer;
use crate::error::{Error, Result};

impl TryFrom<&Tensor> for Array {
    type Error = Error;

    /// A copy of a tensor of f32 or bf16.
    fn try_from(tensor: &Tensor) -> Result<Self> {
        let (flat, shape) = (tensor.flatten_all()?, tensor.shape().clone());
        match tensor.dtype() {
            DType::F32 => Self::new(flat.to_vec1()?, shape),
            DType::BF16 => Self::from_buffer(Buffer::Bf16(flat.to_vec1()?), shape),
            other => Err(Error::internal(format!("got a tensor of {other:?}, expected F32 or BF16"))),
        }
    }
}

impl TryFrom<Array> for Tensor {
    type Error = Error;

    /// Without a copy if the array owns all of its storage and shares it with nobody.
    fn try_from(array: Array) -> Result<Self> {
        let (n, shape) = (array.elem_count(), array.shape.clone());
        match array.storage {
            Storage::F32(values) if values.len() == n => {
                let values = Arc::try_unwrap(values).unwrap_or_else(|shared| shared.to_vec());
                Ok(Self::from_vec(values, shape, &Device::Cpu)?)
            }
            Storage::Bf16(values) if values.len() == n => {
                let values = Arc::try_unwrap(values).unwrap_or_else(|shared| shared.to_vec());
                Ok(Self::from_vec(values, shape, &Device::Cpu)?)
            }
            Storage::Bf16(values) => Ok(Self::from_slice(&values[array.start..array.start + n], shape, &Device::Cpu)?),
            _ => Ok(Self::from_slice(&array.values()?, shape, &Device::Cpu)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(tensor: &Tensor) -> Option<*const f32> {
        match &*tensor.storage_and_layout().0 {
            candle_core::Storage::Cpu(candle_core::CpuStorage::F32(values)) => Some(values.as_ptr()),
            _ => None,
        }
    }

    #[test]
    fn tensor_when_its_array_has_no_other_holder_is_the_same_memory() -> Result<()> {
        let array = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2))?;
        let (there, part) = (array.values()?.as_ptr(), array.rows(1, 2)?);
        let tensor = Tensor::try_from(part)?;
        assert_eq!(tensor.to_vec2::<f32>()?, [[3.0, 4.0], [5.0, 6.0]]);
        let shared = Tensor::try_from(array.clone())?;
        assert_ne!(address(&shared), Some(there));
        assert_eq!(*Array::try_from(&shared.t()?)?.values()?, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert_eq!(address(&Tensor::try_from(array)?), Some(there));
        Ok(())
    }
}
