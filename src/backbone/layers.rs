//! Layers: an operation with its parameters. One description serves both to create the parameters and to look them up.

use super::adapter::added_to;
use super::config::Config;
use super::family::Part;
use super::parameters::Parameters;
use super::spec::{Init, Spec, SpecMap};
use crate::autograd::Var;
use crate::error::Result;
use crate::matmul::Format;
use crate::ops::activation::Activation;
use crate::ops::affine::Affine;
use crate::ops::dropout::Dropout;
use crate::ops::linear::{Added, Epilogue, Frozen, frozen_linear, linear};
use crate::ops::norm::{self, norm, residual_norm};

/// Description of an affine map: names and shape of its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    weight: String,
    /// None if the map has no bias.
    bias: Option<String>,
    /// Numbers of outputs and inputs.
    shape: [usize; 2],
    /// The shape in which the weight is stored, if it is not a matrix.
    stored: Option<[usize; 3]>,
    /// Index of this map, and the number of maps, in a parameter that stacks several.
    part: (usize, usize),
    input_major: bool,
    init: Init,
}

impl Map {
    /// A map with weight `name.weight [n_out, n_in]` and, if `bias`, `name.bias [n_out]`.
    pub(crate) fn new(name: &str, [n_out, n_in]: [usize; 2], bias: bool, init: Init) -> Self {
        Self {
            weight: format!("{name}.weight"),
            bias: bias.then(|| format!("{name}.bias")),
            shape: [n_out, n_in],
            stored: None,
            part: (0, 1),
            input_major: false,
            init,
        }
    }

    /// A map to heads, with the weight `name [n_in, heads, head_size]`.
    pub(super) fn to_heads(name: String, n_in: usize, [heads, size]: [usize; 2], init: Init) -> Self {
        let map = Self::named(name, "", [heads * size, n_in], init);
        Self { stored: Some([n_in, heads, size]), input_major: true, ..map }
    }

    /// A map from heads, with the weight `name [n_out, heads, head_size]`.
    pub(super) fn of_heads(name: String, n_out: usize, [heads, size]: [usize; 2], init: Init) -> Self {
        let map = Self::named(name, "", [n_out, heads * size], init);
        Self { stored: Some([n_out, heads, size]), ..map }
    }

    /// A map with explicit parameter names; no bias if `bias` is empty.
    pub(crate) fn named(weight: String, bias: &str, shape: [usize; 2], init: Init) -> Self {
        let bias = (!bias.is_empty()).then(|| bias.to_string());
        Self { weight, bias, shape, stored: None, part: (0, 1), input_major: false, init }
    }

    /// A map within a layer; its parameters are named `layer.part.weight` and `layer.part.bias`.
    pub(super) fn of_layer(
        layer: &str,
        part: Part,
        shape: [usize; 2],
        bias: bool,
        init: Init,
        input_major: bool,
    ) -> Self {
        let map = Self::new(&format!("{layer}.{}", part.name), shape, bias, init);
        Self { part: (part.index, part.of), input_major, ..map }
    }

    /// Adds the specs of its parameters; if several maps share a parameter, the first adds it for all.
    pub(crate) fn specs(&self, specs: &mut Vec<Spec>) {
        let ([n_out, n_in], (index, of)) = (self.shape, self.part);
        if index > 0 {
            return;
        }
        let shape = if self.input_major { [n_in, of * n_out] } else { [of * n_out, n_in] };
        let stored = self.stored.as_ref().map_or(&shape[..], |stored| stored);
        let map = Some(SpecMap { shape: [of * n_out, n_in], input_major: self.input_major });
        specs.push(Spec { map, ..Spec::new(&self.weight, stored, self.init) });
        if let Some(bias) = &self.bias {
            specs.push(Spec::new(bias, &[of * n_out], Init::Zeros));
        }
    }
}

/// `f(x W^T + b)` with its parameters, plus the low-rank terms of adapters.
pub(crate) struct Linear {
    map: Affine,
    added: Added,
    activation: Option<Activation>,
    format: Format,
    /// The packed weight, if it is constant.
    frozen: Option<Frozen>,
}

impl Linear {
    pub(crate) fn load(
        params: &Parameters,
        map: &Map,
        activation: Option<Activation>,
        format: impl Into<Format>,
    ) -> Result<Self> {
        let weight = params.value(&map.weight)?;
        let bias = map.bias.as_ref().map(|bias| params.value(bias)).transpose()?;
        let affine = if map.input_major { Affine::input_major(weight, bias)? } else { Affine::new(weight, bias)? };
        let (n_out, (index, _)) = (map.shape[0], map.part);
        let outputs = index * n_out..(index + 1) * n_out;
        let added = added_to(params, &map.weight, &outputs, map.shape[1])?;
        let map = affine.outputs(outputs)?;
        let format = format.into();
        let frozen = (!Var::differentiable(&[weight])).then(|| Frozen::new(&map, format.precision));
        Ok(Self { map, added, activation, format, frozen })
    }

    pub(crate) fn forward(&self, x: &Var) -> Result<Var> {
        self.forward_with(x, self.activation.into())
    }

    /// The affine map alone, for operations fused with it. Only heads use this; they have no adapters.
    pub(crate) fn affine(&self) -> &Affine {
        &self.map
    }

    /// `dropout(x W^T + b) + residual`.
    pub(crate) fn add_to(&self, residual: &Var, x: &Var, dropout: Option<Dropout>) -> Result<Var> {
        self.forward_with(x, Epilogue::AddResidual(residual, dropout))
    }

    fn forward_with(&self, x: &Var, epilogue: Epilogue) -> Result<Var> {
        match &self.frozen {
            Some(frozen) => frozen_linear(x, frozen, &self.added, epilogue, self.format.result),
            None => linear(x, &self.map, &self.added, epilogue, self.format),
        }
    }
}

/// Description of a norm: its name and number of values.
pub(crate) struct NormMap {
    name: String,
    size: usize,
    bias: bool,
}

impl NormMap {
    /// A norm of `size` values, with a bias if the configuration says so.
    pub(crate) fn new(name: impl Into<String>, size: usize, config: &Config) -> Self {
        Self { name: name.into(), size, bias: config.norm.bias }
    }

    pub(crate) fn specs(&self, specs: &mut Vec<Spec>) {
        let of_norm =
            |part: &str, init| Spec { is_norm: true, ..Spec::new(format!("{}.{part}", self.name), &[self.size], init) };
        specs.push(of_norm("weight", Init::Ones));
        if self.bias {
            specs.push(of_norm("bias", Init::Zeros));
        }
    }
}

/// A norm with its parameters.
pub(crate) struct Norm(norm::Norm);

impl Norm {
    pub(crate) fn load(params: &Parameters, map: &NormMap, config: &Config) -> Result<Self> {
        let get = |part: &str| params.value(&format!("{}.{part}", map.name)).cloned();
        let bias = map.bias.then(|| get("bias")).transpose()?;
        Ok(Self(norm::Norm { kind: config.norm.kind, weight: get("weight")?, bias, eps: config.norm.eps }))
    }

    pub(crate) fn forward(&self, x: &Var) -> Result<Var> {
        norm(x, &self.0)
    }

    /// `norm(dropout(x) + residual)`.
    pub(crate) fn residual(&self, x: &Var, residual: &Var, dropout: Option<Dropout>) -> Result<Var> {
        residual_norm(x, residual, &self.0, dropout)
    }
}
