//! Layers: an operation with the parameters it finds under its name.

use std::sync::OnceLock;

use super::parameters::{Init, Parameters, Spec};
use crate::autograd::Value;
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::dropout::Dropout;
use crate::kernels::layer_norm::{layer_norm, residual_layer_norm};
use crate::kernels::linear::{FrozenWeight, frozen_linear, linear};
use crate::product::Format;

pub(crate) fn linear_specs(specs: &mut Vec<Spec>, name: &str, n_out: usize, n_in: usize, std: f64) {
    specs.push(Spec::new(format!("{name}.weight"), &[n_out, n_in], Init::Normal(std)));
    specs.push(Spec::new(format!("{name}.bias"), &[n_out], Init::Zeros));
}

pub(crate) fn norm_specs(specs: &mut Vec<Spec>, name: &str, d: usize) {
    specs.push(Spec::new(format!("{name}.weight"), &[d], Init::Ones));
    specs.push(Spec::new(format!("{name}.bias"), &[d], Init::Zeros));
}

/// `f(x W^T + b)` with its parameters.
pub(crate) struct Linear {
    weight: Value,
    bias: Value,
    activation: Option<Activation>,
    format: Format,
    /// The weight, once a constant has met it and neither learns.
    packed: OnceLock<FrozenWeight>,
}

impl Linear {
    pub(crate) fn load(
        params: &Parameters,
        name: &str,
        activation: Option<Activation>,
        format: impl Into<Format>,
    ) -> Result<Self> {
        let get = |part: &str| params.value(&format!("{name}.{part}")).cloned();
        let format = format.into();
        Ok(Self { weight: get("weight")?, bias: get("bias")?, activation, format, packed: OnceLock::new() })
    }

    pub(crate) fn forward(&self, x: &Value) -> Result<Value> {
        if Value::differentiable(&[x, &self.weight, &self.bias]) {
            return linear(x, &self.weight, Some(&self.bias), self.activation, self.format);
        }
        let packed = if let Some(packed) = self.packed.get() {
            packed
        } else {
            let packed = FrozenWeight::new(self.weight.tensor(), self.format.precision)?;
            self.packed.get_or_init(|| packed)
        };
        frozen_linear(x, packed, Some(&self.bias), self.activation, self.format.result)
    }
}

/// Layer norm with its parameters.
pub(crate) struct Norm {
    weight: Value,
    bias: Value,
    eps: f64,
}

impl Norm {
    pub(crate) fn load(params: &Parameters, name: &str, eps: f64) -> Result<Self> {
        let get = |part: &str| params.value(&format!("{name}.{part}")).cloned();
        Ok(Self { weight: get("weight")?, bias: get("bias")?, eps })
    }

    pub(crate) fn forward(&self, x: &Value) -> Result<Value> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }

    /// `norm(dropout(x) + residual)`.
    pub(crate) fn residual(&self, x: &Value, residual: &Value, dropout: Option<Dropout>) -> Result<Value> {
        residual_layer_norm(x, residual, &self.weight, &self.bias, self.eps, dropout)
    }
}
