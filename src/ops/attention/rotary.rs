//! Rotary position embedding (Su et al. 2021): pairs of a head's values are rotated by angles proportional to the
//! position, so that the product of a query and a key depends on their distance.
//!
//! The pairs are those of `rotate_half` in transformers: value `j` of a head is paired with value `j + dims / 2`.

use rayon::prelude::*;

use crate::compute::simd::vectorised;
use crate::compute::uninit;
use crate::error::{Error, Result};
use crate::matmul::MatrixView;

/// Cosine and sine tables for each position.
pub struct Rotary {
    /// `[positions, 2, pairs]`: cosines, then sines.
    tables: Vec<f32>,
    positions: usize,
    pairs: usize,
}

impl Rotary {
    /// Tables for positions from 0 on: pair `j` is rotated by `position * inverse_frequencies[j]` and multiplied by
    /// `scale` (YaRN's attention factor, otherwise 1). The first `2 * inverse_frequencies.len()` values of a head are
    /// rotated, the rest are unchanged.
    ///
    /// Angles, cosines and sines are computed in f64 and rounded to f32 once. transformers computes the angles in f32,
    /// with errors up to `position * 2^-24` for frequencies of about 1: 5e-4 at position 8192.
    pub fn new(inverse_frequencies: &[f64], positions: usize, scale: f64) -> Self {
        let pairs = inverse_frequencies.len();
        // SAFETY: cosines and sines of every position are written.
        let mut tables = unsafe { uninit(positions * 2 * pairs) };
        tables.par_chunks_exact_mut((2 * pairs).max(1)).enumerate().for_each(|(position, pair)| {
            let (cos, sin) = pair.split_at_mut(pairs);
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
                let (s, c) = (position as f64 * frequency).sin_cos();
                (*cos, *sin) = ((scale * c) as f32, (scale * s) as f32);
            }
        });
        Self { tables, positions, pairs }
    }

    /// Returns an error if a sequence is longer than the tables, or a head has fewer values than are rotated.
    pub(in crate::ops) fn check(&self, longest: usize, head_size: usize) -> Result<()> {
        if longest > self.positions || 2 * self.pairs > head_size {
            let (positions, rotated) = (self.positions, 2 * self.pairs);
            return Err(Error::internal(format!(
                "rotary: got a sequence of {longest} tokens and heads of {head_size} values, expected at most {positions} \
                 tokens and at least {rotated} values"
            )));
        }
        Ok(())
    }

    fn turn(&self, position: usize) -> (&[f32], &[f32]) {
        self.tables[position * 2 * self.pairs..][..2 * self.pairs].split_at(self.pairs)
    }

    /// Copies the rows at positions from `first` on to `out` and rotates them.
    pub(in crate::ops) fn forward<'a>(&self, rows: &MatrixView, first: usize, out: &'a mut [f32]) -> MatrixView<'a> {
        for (i, out) in out.chunks_exact_mut(rows.depth).take(rows.count).enumerate() {
            let row = rows.values.range(i * rows.line_stride..i * rows.line_stride + rows.depth);
            row.for_pieces(|start, piece| out[start..start + piece.len()].copy_from_slice(piece));
            let (cos, sin) = self.turn(first + i);
            rotate(out, cos, sin, 1.0);
        }
        MatrixView::rows(&*out, rows.count, rows.depth)
    }

    /// Rotates the values of a head at `position`, in place.
    pub(in crate::ops) fn rotate_row(&self, position: usize, row: &mut [f32]) {
        let (cos, sin) = self.turn(position);
        rotate(row, cos, sin, 1.0);
    }

    /// Gradient of a row at `position` from that of the rotated row, in place: rotation by minus the angle.
    pub(in crate::ops) fn backward(&self, position: usize, row: &mut [f32]) {
        let (cos, sin) = self.turn(position);
        rotate(row, cos, sin, -1.0);
    }
}

vectorised! {
    /// Rotates the pairs of `row`; a `sign` of -1 reverses the rotation.
    fn rotate(row: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let (a, b) = row.split_at_mut(cos.len());
        for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
            let s = sign * s;
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_when_compared_with_f64_are_the_nearest_f32() {
        let frequencies: Vec<f64> = (0..7).map(|j| 10_000f64.powf(-f64::from(j) / 7.0)).collect();
        let (positions, scale) = (8193usize, 1.25);
        let rotary = Rotary::new(&frequencies, positions, scale);
        for position in [0, 1, 77, 4096, positions - 1] {
            let (cos, sin) = rotary.turn(position);
            for (j, frequency) in frequencies.iter().enumerate() {
                let angle = position as f64 * frequency;
                for (got, want) in [(cos[j], scale * angle.cos()), (sin[j], scale * angle.sin())] {
                    assert!(
                        (f64::from(got) - want).abs() <= 2f64.powi(-24) * want.abs(),
                        "{position} {j}: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn check_when_sequence_or_head_do_not_fit_says_so() {
        let rotary = Rotary::new(&[1.0, 0.1], 5, 1.0);
        assert!(rotary.check(5, 4).is_ok());
        for (longest, size) in [(6, 4), (5, 3)] {
            let error = rotary.check(longest, size).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("{longest} tokens and heads of {size} values")), "{error}");
        }
    }
}
