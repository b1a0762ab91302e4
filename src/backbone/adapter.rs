//! Adapters of linear layers, looked up by the name of the weight.

use std::ops::Range;

use super::low_rank::Kind;
use super::parameters::Parameters;
use crate::array::Array;
use crate::autograd::Var;
use crate::error::Result;
use crate::ops::affine::Affine;
use crate::ops::linear::{Added, LowRankTerm, Magnitude};

/// What adapters add to a weight of `n_in` inputs; if the weight stacks several maps, only to their outputs in `range`.
pub(super) fn added_to(params: &Parameters, weight: &str, range: &Range<usize>, n_in: usize) -> Result<Added> {
    let mut added = Added::default();
    for adapter in params.adapters() {
        let Some(map) = adapter.on(weight) else { continue };
        let names = adapter.names_on(weight);
        let (a, b) = match adapter.kind {
            Kind::Miss => {
                let a = Var::constant(shards(map.rank, n_in)?);
                (Affine::new(&a, None)?, Affine::input_major(params.value(&names[0])?, None)?)
            }
            Kind::Lora | Kind::Dora => {
                (Affine::new(params.value(&names[0])?, None)?, Affine::new(params.value(&names[1])?, None)?)
            }
        };
        added.terms.push(LowRankTerm { a, b: b.outputs(range.clone())?, scale: adapter.scale(map) as f32 });
        if let Kind::Dora = adapter.kind {
            let lengths = params.value(&names[2])?.clone();
            added.magnitude = Some(Magnitude { lengths, outputs: range.clone() });
        }
    }
    Ok(added)
}

/// The fixed `A [r, K]` of `MiSS`: row `i` sums every input `j` with `j mod r = i`.
pub(super) fn shards(rank: usize, n_in: usize) -> Result<Array> {
    let mut values = vec![0.0; rank * n_in];
    (0..n_in).for_each(|j| values[j % rank * n_in + j] = 1.0);
    Array::new(values, (rank, n_in))
}
