//! Sparse gradients, of which only some pieces are written: a batch contains few of the words in the embedding table.

use rayon::prelude::*;

use crate::compute::CHUNK;

/// Number of values that are written or skipped together: a few rows of an embedding.
pub const PIECE: usize = CHUNK / 16;

/// A gradient, or a part of one that starts at a piece boundary.
#[derive(Clone, Copy)]
pub struct Gradient<'a> {
    values: &'a [f32],
    written: &'a [bool],
}

impl<'a> Gradient<'a> {
    /// A gradient of `values`; pieces that are not `written` count as 0, whatever they hold.
    pub(super) fn new(values: &'a [f32], written: &'a [bool]) -> Self {
        Self { values, written }
    }

    /// Splits the gradient into parts of [`CHUNK`] values.
    pub fn par_chunks(&self) -> impl IndexedParallelIterator<Item = Gradient<'a>> + use<'a> {
        let written = self.written.par_chunks(CHUNK / PIECE);
        self.values.par_chunks(CHUNK).zip(written).map(|(values, written)| Gradient { values, written })
    }

    /// Each [`PIECE`] of the values; None if nothing was written to it, so that its values are 0.
    pub fn pieces(&self) -> impl Iterator<Item = Option<&'a [f32]>> + use<'a> {
        self.values.chunks(PIECE).zip(self.written).map(|(piece, written)| written.then_some(piece))
    }

    /// All values.
    #[cfg(test)]
    pub fn to_vec(self) -> Vec<f32> {
        let mut values = self.values.to_vec();
        fill_unwritten(&mut values, self.written);
        values
    }
}

/// Set the pieces that are not `written` to 0.
pub(super) fn fill_unwritten(values: &mut [f32], written: &[bool]) {
    let pieces = values.par_chunks_mut(PIECE).zip(written).filter(|(_, written)| !**written);
    pieces.for_each(|(piece, _)| piece.fill(0.0));
}

/// Add `row` to `values[at..]`; pieces that are not yet `written` count as 0, and are marked as written.
pub fn add_to_pieces(values: &mut [f32], written: &mut [bool], at: usize, row: &[f32]) {
    for piece in at / PIECE..(at + row.len()).div_ceil(PIECE) {
        if !std::mem::replace(&mut written[piece], true) {
            let end = ((piece + 1) * PIECE).min(values.len());
            values[piece * PIECE..end].fill(0.0);
        }
    }
    crate::compute::sum_rows_into(&mut values[at..][..row.len()], row);
}
