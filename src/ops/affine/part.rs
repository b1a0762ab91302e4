//! Where an affine map lies in its parameters.

use std::ops::Range;

use crate::compute::Elements;
use crate::product::Lines;

/// A map whose outputs are all or some of those that the parameters hold.
#[derive(Clone)]
pub(in crate::ops) struct Part {
    /// Those of the stored outputs that the map has.
    pub outputs: Range<usize>,
    /// All outputs and the inputs.
    pub(super) stored: [usize; 2],
    /// The weight is stored `[inputs, outputs]`.
    pub input_major: bool,
}

impl Part {
    /// `[N, K]`
    pub fn shape(&self) -> [usize; 2] {
        [self.outputs.len(), self.stored[1]]
    }

    /// True if the parameters hold this map alone.
    pub fn is_whole(&self) -> bool {
        self.outputs.len() == self.stored[0]
    }

    /// Where in the weight the map begins, and how far it is from one stored row to the next.
    pub fn place(&self) -> (usize, usize) {
        let [n, k] = self.stored;
        if self.input_major { (self.outputs.start, n) } else { (self.outputs.start * k, k) }
    }

    /// The rows of `W`, of the weight's values.
    pub fn rows<'a>(&self, weight: impl Into<Elements<'a>>) -> Lines<'a> {
        let [count, depth] = self.shape();
        let (start, stride) = self.place();
        let (line_stride, depth_stride) = if self.input_major { (1, stride) } else { (stride, 1) };
        let weight = weight.into();
        Lines { values: weight.range(start..weight.len()), count, depth, line_stride, depth_stride }
    }

    /// The columns of `W`.
    pub fn columns<'a>(&self, weight: impl Into<Elements<'a>>) -> Lines<'a> {
        self.rows(weight).transposed()
    }
}
