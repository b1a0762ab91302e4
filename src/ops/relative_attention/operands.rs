//! Input values of relative attention.

use crate::compute::Elements;

/// Values of the inputs.
pub(super) struct Operands<'a> {
    pub q: Elements<'a>,
    pub k: Elements<'a>,
    pub v: Elements<'a>,
    pub r: Elements<'a>,
    /// Biases for keys, distances and segments, `[H * d]` each.
    pub biases: [Vec<f32>; 3],
    /// `seg_embed[1] - seg_embed[0]`, `[H * d]`.
    pub segment: Vec<f32>,
}

impl<'a> Operands<'a> {
    /// From q, k, v, r, the three biases (keys, distances, segments) and the segment embeddings; the last four are
    /// small and copied.
    pub fn new([q, k, v, r, biases @ .., segments]: [Elements<'a>; 8]) -> Self {
        let wide = |elements: Elements| (0..elements.len()).map(|i| elements.at(i)).collect::<Vec<f32>>();
        let segments = wide(segments);
        let (same, different) = segments.split_at(segments.len() / 2);
        let segment = different.iter().zip(same).map(|(different, same)| different - same).collect();
        Self { q, k, v, r, biases: biases.map(wide), segment }
    }
}
