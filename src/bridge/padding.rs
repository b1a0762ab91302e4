//! Converts packed sequences to padded batches and back.
//!
//! Sequences of similar length are padded together, so that each is padded by at most a quarter of its length, or by
//! [`SHORT`] rows. A function must treat sequences independently, so that neither padding nor the other sequences
//! change its output.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::function::CandleFunction;
use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::compute::sum_rows_into;
use crate::error::{Error, Result};
use crate::ops::embedding::stacked_rows;

/// Number of padding rows that is accepted for any sequence.
const SHORT: usize = 4;

/// Output of a function of padded sequences: one row per token or one per sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// `[b, L, D]`, a row for each token; rows of padding tokens are dropped.
    Token,
    /// `[b, D]`, a row for each sequence.
    Sequence,
}

/// A group of sequences padded to the longest of them.
struct Bucket {
    /// Indices of the sequences, `[b]`.
    sequences: Vec<usize>,
    /// Range of rows of each sequence in the packed batch.
    rows: Vec<Range<usize>>,
    /// Padded length in rows, `L`, at least 1.
    length: usize,
}

/// Applies `function` to packed sequences by padding them. Returns `[T, D]` or `[B, D]`.
///
/// For each bucket of `b` sequences of up to `L` tokens the function gets each of `packed`, `[T, D]`, as `[b, L, D]`
/// with zeros after the end, `mask [b, L]`, which is 1 at tokens and 0 at padding, and `parameters` unchanged. The
/// output for a sequence may depend only on that sequence and the zeros after its end. A batch without sequences is run
/// as one sequence without tokens, so that parameters get zero gradients.
pub fn apply_padded(
    function: &CandleFunction,
    packed: &[(&str, &Var)],
    cu_seqlens: &[u32],
    parameters: &[(&str, &Var)],
    per: Per,
) -> Result<Var> {
    let n_tokens = cu_seqlens.last().map(|&n| n as usize);
    for (name, x) in packed {
        let (t, d) = x.array().dims2()?;
        if n_tokens != Some(t) || cu_seqlens[0] != 0 || !cu_seqlens.is_sorted() {
            let function = function.name();
            return Err(Error::internal(format!("{function}: got {name} [{t}, {d}] and sequences {cu_seqlens:?}")));
        }
    }
    let buckets = buckets(cu_seqlens);
    let mut outputs = Vec::with_capacity(buckets.len());
    for bucket in &buckets {
        let padded = packed.iter().map(|(name, x)| Ok((*name, bucket.pad(x)?))).collect::<Result<Vec<_>>>()?;
        let values: Vec<_> = padded.iter().map(|(name, x)| (*name, x)).chain(parameters.iter().copied()).collect();
        let output = function.apply(&values, &[("mask", bucket.mask()?)])?;
        let (got, b, l) = (output.array().dims(), bucket.rows.len(), bucket.length);
        let fits = match per {
            Per::Token => matches!(got, [rows, columns, _] if [*rows, *columns] == [b, l]),
            Per::Sequence => matches!(got, [rows, _] if *rows == b),
        };
        if !fits {
            let expected = if per == Per::Token { format!("[{b}, {l}, _]") } else { format!("[{b}, _]") };
            return Err(Error::internal(format!("{}: got output {got:?}, expected {expected}", function.name())));
        }
        outputs.push(output);
    }
    let rows = places(&buckets, cu_seqlens, per);
    stacked_rows(&outputs.iter().collect::<Vec<_>>(), rows.into())
}

/// Groups all sequences into buckets of similar length.
fn buckets(cu_seqlens: &[u32]) -> Vec<Bucket> {
    let rows = |i: usize| cu_seqlens[i] as usize..cu_seqlens[i + 1] as usize;
    let mut order: Vec<usize> = (0..cu_seqlens.len().saturating_sub(1)).collect();
    order.sort_by_key(|&i| rows(i).len());
    let mut buckets: Vec<Bucket> = Vec::new();
    for i in order {
        let len = rows(i).len();
        match buckets.last_mut() {
            Some(bucket) if len <= bucket.rows[0].len() + (bucket.rows[0].len() / 4).max(SHORT) => {
                bucket.sequences.push(i);
                bucket.rows.push(rows(i));
                bucket.length = len.max(1);
            }
            _ => buckets.push(Bucket { sequences: vec![i], rows: vec![rows(i)], length: len.max(1) }),
        }
    }
    if buckets.is_empty() {
        let none = std::iter::once(0..0).collect();
        buckets.push(Bucket { sequences: Vec::new(), rows: none, length: 1 });
    }
    buckets
}

/// Index of each token's row `[T]`, or each sequence's row `[B]`, in the concatenated outputs of the buckets.
fn places(buckets: &[Bucket], cu_seqlens: &[u32], per: Per) -> Vec<u32> {
    let n = match per {
        Per::Token => cu_seqlens.last().map_or(0, |&n| n as usize),
        Per::Sequence => cu_seqlens.len().saturating_sub(1),
    };
    let (mut places, mut first) = (vec![0; n], 0);
    for bucket in buckets {
        let stride = if per == Per::Token { bucket.length } else { 1 };
        for (i, (&sequence, rows)) in bucket.sequences.iter().zip(&bucket.rows).enumerate() {
            let at = first + i * stride;
            match per {
                Per::Token => rows.clone().enumerate().for_each(|(t, row)| places[row] = (at + t) as u32),
                Per::Sequence => places[sequence] = at as u32,
            }
        }
        first += bucket.rows.len() * stride;
    }
    places
}

impl Bucket {
    /// Padding mask `[b, L]`: 1 at tokens, 0 at padding.
    fn mask(&self) -> Result<Tensor> {
        let row = |rows: &Range<usize>| (0..self.length).map(|t| if t < rows.len() { 1f32 } else { 0.0 }).collect();
        let values: Vec<f32> = self.rows.iter().flat_map(|rows| -> Vec<f32> { row(rows) }).collect();
        Ok(Tensor::from_vec(values, (self.rows.len(), self.length), &Device::Cpu)?)
    }

    /// Pads `x [T, D]` to `[b, L, D]` with zeros after the end of each sequence.
    fn pad(&self, x: &Var) -> Result<Var> {
        let (_, d) = x.array().dims2()?;
        let (source, mut y) = (x.array().values()?, vec![0f32; self.rows.len() * self.length * d]);
        for (y, rows) in y.chunks_exact_mut((self.length * d).max(1)).zip(&self.rows) {
            y[..rows.len() * d].copy_from_slice(&source[rows.start * d..rows.end * d]);
        }
        let y = Array::new(y, (self.rows.len(), self.length, d))?;
        Ok(Var::computed(y, &[x], Pad { rows: self.rows.clone(), length: self.length }))
    }
}

/// Backward of padding: `dx[row] = dy[b, t]` for each token.
struct Pad {
    rows: Vec<Range<usize>>,
    length: usize,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn backward(&self, inputs: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let ((_, d), dy) = (inputs[0].dims2()?, dy.values()?);
        into[0].write(|dx, add| {
            if !add {
                dx.fill(0.0);
            }
            for (dy, rows) in dy.chunks_exact((self.length * d).max(1)).zip(&self.rows) {
                sum_rows_into(&mut dx[rows.start * d..rows.end * d], &dy[..rows.len() * d]);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_when_lengths_vary_hold_each_sequence_once_and_pad_by_a_quarter() {
        let lengths = (0..300u32).map(|i| i * 37 % 211);
        let starts: Vec<u32> = std::iter::once(0)
            .chain(lengths.scan(0, |end, n| {
                *end += n;
                Some(*end)
            }))
            .collect();
        let buckets = buckets(&starts);
        assert!(buckets.len() < 25, "{}", buckets.len());
        let mut seen: Vec<usize> = buckets.iter().flat_map(|bucket| bucket.sequences.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        for bucket in &buckets {
            for (rows, &i) in bucket.rows.iter().zip(&bucket.sequences) {
                assert_eq!(*rows, starts[i] as usize..starts[i + 1] as usize);
                let padding = bucket.length - rows.len();
                assert!(padding <= (rows.len() / 4).max(SHORT), "{} rows padded by {padding}", rows.len());
            }
        }
        let mut places = places(&buckets, &starts, Per::Token);
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), starts[300] as usize, "every token has a row of its own");
    }
}
