//! Reads tensor values: de-quantised in parallel, row by row, straight into the layout of a Hugging Face checkpoint.

use rayon::prelude::*;

use super::blocks::decode;
use super::header::Stored;
use super::reader::Checked;
use crate::array::Array;
use crate::compute::{CHUNK, in_pool, uninit};
use crate::error::{Error, Result};

/// How the rows of a tensor in the file are reordered into the Hugging Face layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Same,
    /// In the file the two rotary halves of each head, of this many rows, are interleaved.
    Rotary(usize),
    /// The matrix is transposed.
    Transposed,
}

impl Order {
    /// Order of a tensor of `heads` heads whose rotary halves are interleaved in the file.
    pub fn rotary(shape: &[usize], heads: usize) -> Checked<Self> {
        // A bias has one value for each row of the weight.
        let rows = shape[0];
        if shape.len() > 2 || heads == 0 || !rows.is_multiple_of(2 * heads) {
            return Err(format!("has shape {shape:?}; expected an even number of rows for each of {heads} heads"));
        }
        Ok(Self::Rotary(rows / heads))
    }

    pub fn transposed(shape: &[usize]) -> Checked<Self> {
        match shape.len() {
            2 => Ok(Self::Transposed),
            _ => Err(format!("has shape {shape:?}; expected a matrix")),
        }
    }

    /// Row index in the file of the tensor's row `row`.
    fn source(self, row: usize) -> usize {
        match self {
            Self::Same | Self::Transposed => row,
            Self::Rotary(head) => {
                let (first, within) = (row / head * head, row % head);
                first + within % (head / 2) * 2 + within / (head / 2)
            }
        }
    }
}

/// A tensor in the file, with its shape and row order in a Hugging Face checkpoint.
pub(super) struct Placed {
    pub stored: Stored,
    pub shape: Vec<usize>,
    order: Order,
}

impl Placed {
    pub fn new(stored: Stored, order: Order) -> Self {
        let mut shape = stored.shape.clone();
        if order == Order::Transposed {
            shape.reverse();
        }
        Self { stored, shape, order }
    }

    /// Reads the values as f32, in parallel.
    pub fn read(&self, file: &[u8]) -> Result<Array> {
        let bytes = file.get(self.stored.bytes.clone()).unwrap_or_default();
        // A vector counts as one row, unless its values are reordered.
        let columns = match (&self.stored.shape[..], self.order) {
            ([_], Order::Rotary(_)) => 1,
            (shape, _) => shape.last().copied().unwrap_or(1),
        };
        let values = in_pool(|| self.rows(bytes, columns))?;
        let values = if self.order == Order::Transposed { in_pool(|| transpose(&values, columns)) } else { values };
        Array::new(values, self.shape.as_slice())
    }

    fn rows(&self, bytes: &[u8], columns: usize) -> Result<Vec<f32>> {
        let kind = self.stored.kind;
        if !columns.is_multiple_of(kind.block_size()) {
            return Err(Error::Weights(format!("a vector of {kind:?} cannot change the places of its values")));
        }
        let row_bytes = columns / kind.block_size() * kind.type_size();
        // SAFETY: each row of the file is decoded into a row of its own, and all values of it are written; else this
        // returns an error.
        let mut values = unsafe { uninit(self.stored.shape.iter().product()) };
        let rows = (CHUNK / columns).max(1);
        values.par_chunks_mut(rows * columns).enumerate().try_for_each(|(task, chunk)| {
            chunk.chunks_mut(columns).enumerate().try_for_each(|(i, row)| {
                let start = self.order.source(task * rows + i) * row_bytes;
                let bytes = bytes.get(start..start + row_bytes);
                decode(kind, bytes.ok_or_else(|| Error::internal("GGUF row outside its tensor"))?, row)
            })
        })?;
        Ok(values)
    }
}

/// Transposes a `[rows, columns]` matrix to `[columns, rows]`.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    // SAFETY: every column of the input is written to one row of the output.
    let mut out = unsafe { uninit(values.len()) };
    out.par_chunks_mut(rows).enumerate().for_each(|(column, out)| {
        out.iter_mut().zip(values[column..].iter().step_by(columns)).for_each(|(out, &value)| *out = value);
    });
    out
}
