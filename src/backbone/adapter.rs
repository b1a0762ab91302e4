//! Low-rank adapters (LoRA, Hu et al. 2021): a map `W x + b` becomes `W x + b + alpha / r * B (A x)`, with `A [r, K]`
//! and `B [N, r]`.

use super::parameters::Parameters;
use crate::autograd::Var;
use crate::error::Result;
use crate::matmul::Format;
use crate::ops::affine::Affine;
use crate::ops::linear::{Epilogue, linear};
use crate::ops::scaled_sum::scaled_sum;

/// An adapter of one map.
pub(super) struct Adapter {
    a: Affine,
    b: Affine,
    scale: f32,
}

impl Adapter {
    /// The adapters of a weight; if the weight stacks several maps, only their outputs in `range`.
    pub fn load(params: &Parameters, weight: &str, range: &std::ops::Range<usize>) -> Result<Vec<Self>> {
        let there = params.adapters().iter().filter_map(|adapter| adapter.on(weight));
        let load = |([a, b], scale): ([String; 2], f64)| {
            Ok(Self {
                a: Affine::new(params.value(&a)?, None)?,
                b: Affine::new(params.value(&b)?, None)?.outputs(range.clone())?,
                scale: scale as f32,
            })
        };
        there.map(load).collect()
    }

    /// `y + scale * B (A x)`.
    pub fn add_to(&self, y: &Var, x: &Var, format: Format) -> Result<Var> {
        let low = linear(x, &self.a, Epilogue::None, format)?;
        scaled_sum(y, &linear(&low, &self.b, Epilogue::None, format)?, self.scale, format.result)
    }
}
