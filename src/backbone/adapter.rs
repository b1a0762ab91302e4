//! Adapters of linear layers, looked up by the name of the weight.

use std::ops::Range;

use super::parameters::Parameters;
use crate::error::Result;
use crate::ops::affine::Affine;
use crate::ops::linear::LowRankTerm;

/// The low-rank terms of a weight; if the weight stacks several maps, only their outputs in `range`.
pub(super) fn terms_of(params: &Parameters, weight: &str, range: &Range<usize>) -> Result<Vec<LowRankTerm>> {
    let there = params.adapters().iter().filter_map(|adapter| adapter.on(weight));
    let load = |([a, b], scale): ([String; 2], f64)| {
        Ok(LowRankTerm {
            a: Affine::new(params.value(&a)?, None)?,
            b: Affine::new(params.value(&b)?, None)?.outputs(range.clone())?,
            scale: scale as f32,
        })
    };
    there.map(load).collect()
}
