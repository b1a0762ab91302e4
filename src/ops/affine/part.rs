//! Location of a linear layer within its parameters.

use std::ops::Range;

use crate::compute::Elements;
use crate::matmul::MatrixView;

/// A linear layer that uses all or a range of the outputs that the parameters hold.
#[derive(Clone)]
pub(in crate::ops) struct Part {
    /// Range of the stored outputs that the layer uses.
    pub outputs: Range<usize>,
    /// Stored shape: number of outputs and inputs.
    pub(super) stored: [usize; 2],
    /// True if the weight is stored as `[inputs, outputs]`.
    pub input_major: bool,
}

impl Part {
    /// Shape of `W`: `[N, K]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.outputs.len(), self.stored[1]]
    }

    /// True if the layer uses all stored outputs.
    pub fn is_whole(&self) -> bool {
        self.outputs.len() == self.stored[0]
    }

    /// Offset of the layer in the weight, and the stride between stored rows.
    pub fn place(&self) -> (usize, usize) {
        let [n, k] = self.stored;
        if self.input_major { (self.outputs.start, n) } else { (self.outputs.start * k, k) }
    }

    /// The rows of `W`, read from the weight's values.
    pub fn rows<'a>(&self, weight: impl Into<Elements<'a>>) -> MatrixView<'a> {
        let [count, depth] = self.shape();
        let (start, stride) = self.place();
        let (line_stride, depth_stride) = if self.input_major { (1, stride) } else { (stride, 1) };
        let weight = weight.into();
        MatrixView { values: weight.range(start..weight.len()), count, depth, line_stride, depth_stride }
    }

    /// The columns of `W`, read from the weight's values.
    pub fn columns<'a>(&self, weight: impl Into<Elements<'a>>) -> MatrixView<'a> {
        self.rows(weight).transposed()
    }
}
