//! Parameters of a linear layer `x W^T + b`, in any storage layout.

mod part;

use std::ops::Range;

use crate::autograd::Var;
use crate::error::{Error, Result};
pub(super) use part::Part;

/// `W [N, K]` and optionally `b [N]`: whole parameters, or a range of their outputs if one parameter holds several
/// layers (such as fused q, k, v).
#[derive(Clone)]
pub struct Affine {
    pub(super) weight: Var,
    pub(super) bias: Option<Var>,
    pub(super) part: Part,
}

impl Affine {
    /// A weight `[outputs, ..]`, as `torch.nn.Linear` stores it; the remaining dimensions are flattened into the
    /// inputs. The bias has one value per output.
    pub fn new(weight: &Var, bias: Option<&Var>) -> Result<Self> {
        Self::stored(weight, bias, false)
    }

    /// A weight `[inputs, ..]`, as GPT-2's `Conv1D` stores it; the remaining dimensions are flattened into the outputs.
    pub fn input_major(weight: &Var, bias: Option<&Var>) -> Result<Self> {
        Self::stored(weight, bias, true)
    }

    fn stored(weight: &Var, bias: Option<&Var>, input_major: bool) -> Result<Self> {
        let dims = weight.array().dims();
        let (first, rest) = (dims.first().copied().unwrap_or(0), dims.iter().skip(1).product());
        let [n, k] = if input_major { [rest, first] } else { [first, rest] };
        let n_bias = bias.map(|bias| bias.array().elem_count());
        if dims.len() < 2 || n_bias.is_some_and(|n_bias| n_bias != n) {
            return Err(Error::internal(format!("affine map: got a weight {dims:?} and a bias of {n_bias:?} values")));
        }
        let part = Part { outputs: 0..n, stored: [n, k], input_major };
        Ok(Self { weight: weight.clone(), bias: bias.cloned(), part })
    }

    /// The layer restricted to this range of outputs.
    pub fn outputs(mut self, outputs: Range<usize>) -> Result<Self> {
        if outputs.start > outputs.end || outputs.end > self.part.stored[0] {
            return Err(Error::internal(format!("affine map: got outputs {outputs:?} of {}", self.part.stored[0])));
        }
        self.part.outputs = outputs;
        Ok(self)
    }

    /// Shape of `W`: `[N, K]`.
    pub fn shape(&self) -> [usize; 2] {
        self.part.shape()
    }
}
