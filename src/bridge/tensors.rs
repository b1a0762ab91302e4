//! Inputs of a function of candle tensors.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var as CandleVar, bail};
use candle_nn::VarBuilder;

use crate::autograd::Var;
use crate::error::Error;

/// A value of our autograd as a candle tensor.
pub(super) struct Leaf {
    pub name: String,
    /// An f32 tensor; a candle variable if it wants a gradient.
    pub tensor: Tensor,
    pub wanted: bool,
}

impl Leaf {
    /// Copies the value, because the optimiser updates parameters in place.
    pub fn new(name: &str, value: &Var) -> std::result::Result<Self, Error> {
        let tensor = Tensor::try_from(value.array().clone())?.to_dtype(DType::F32)?;
        let wanted = Var::differentiable(&[value]);
        let tensor = if wanted { CandleVar::from_tensor(&tensor)?.into_inner() } else { tensor };
        Ok(Self { name: name.to_string(), tensor, wanted })
    }
}

/// Tensors by name: hidden states, parameters, masks. All floating-point tensors have the same dtype.
pub struct Tensors {
    by_name: HashMap<String, Tensor>,
    dtype: DType,
}

impl Tensors {
    /// Collects these tensors; floating-point ones are cast to `dtype`.
    pub(super) fn new<'a>(tensors: impl Iterator<Item = (&'a str, Tensor)>, dtype: DType) -> Result<Self> {
        let mut by_name = HashMap::new();
        for (name, tensor) in tensors {
            let tensor = if tensor.dtype().is_float() { tensor.to_dtype(dtype)? } else { tensor };
            if by_name.insert(name.to_string(), tensor).is_some() {
                bail!("two inputs are named {name:?}");
            }
        }
        Ok(Self { by_name, dtype })
    }

    /// Tensor with this name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.by_name.get(name).ok_or_else(|| {
            let mut names: Vec<&String> = self.by_name.keys().collect();
            names.sort();
            candle_core::Error::Msg(format!("got no input {name:?}, but {names:?}"))
        })
    }

    /// Dtype of the floating-point tensors. It is F64 while gradients are checked, so constants created by a function
    /// must have this dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A `VarBuilder` over the tensors for candle-nn's constructors, which look parameters up by name.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.by_name.clone(), self.dtype, &Device::Cpu)
    }
}
