//! What a function of candle tensors is given.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use candle_nn::VarBuilder;

use crate::autograd::Value;
use crate::error::Error;

/// A value of our autograd as candle has it.
pub(super) struct Leaf {
    pub name: String,
    /// In f32; a variable of candle's if it wants a gradient.
    pub tensor: Tensor,
    pub wanted: bool,
}

impl Leaf {
    /// A copy: what a parameter holds changes in place when it learns.
    pub fn new(name: &str, value: &Value) -> std::result::Result<Self, Error> {
        let tensor = Tensor::try_from(value.array().clone())?.to_dtype(DType::F32)?;
        let wanted = Value::differentiable(&[value]);
        let tensor = if wanted { Var::from_tensor(&tensor)?.into_inner() } else { tensor };
        Ok(Self { name: name.to_string(), tensor, wanted })
    }
}

/// Tensors by name: hidden states, parameters, masks. All of one float type, except those of integers.
pub struct Tensors {
    by_name: HashMap<String, Tensor>,
    dtype: DType,
}

impl Tensors {
    /// These tensors, those of floats cast to `dtype`.
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

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.by_name.get(name).ok_or_else(|| {
            let mut names: Vec<&String> = self.by_name.keys().collect();
            names.sort();
            candle_core::Error::Msg(format!("got no input {name:?}, but {names:?}"))
        })
    }

    /// The type of the floats. It is F64 while gradients are checked, so constants that a function makes must be of this type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The tensors for candle-nn's constructors, which find parameters by name.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.by_name.clone(), self.dtype, &Device::Cpu)
    }
}
