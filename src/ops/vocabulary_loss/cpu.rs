//! Cross entropy over a vocabulary on the CPU, in blocks of logits.

use rayon::prelude::*;

use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{Elements, add_bias_to_rows, sum_rows, sum_rows_into, uninit};
use crate::matmul::{MatrixView, Output, Packed, Precision, Rhs, matmul};
use crate::ops::affine::Part;

/// Rows of a block of logits.
const ROWS: usize = 1024;
/// Vocabulary entries (columns) of a block of logits.
const WORDS: usize = 2048;
/// Bytes of a block of logits.
pub const BLOCK_BYTES: usize = 4 * ROWS * WORDS;

/// The output layer from hidden states to logits.
pub(super) struct Map<'a> {
    pub part: &'a Part,
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub precision: Precision,
}

/// The rows that have a label.
pub(super) struct Rows {
    /// Their hidden states, `[labels, D]`.
    hidden: Vec<f32>,
    width: usize,
    labels: Vec<u32>,
}

/// Running log-sum-exp of a row's logits.
#[derive(Clone)]
pub(super) struct RowState {
    max: f32,
    /// Sum of `exp(z - max)`.
    sum: f64,
    /// Logit of the label.
    label: f32,
}

impl Rows {
    /// Collects the rows of hidden states `[N, D]` that have a label.
    pub fn gather(hidden: Elements, width: usize, labels: &[Option<u32>]) -> Self {
        let kept: Vec<u32> = labels.iter().flatten().copied().collect();
        // SAFETY: there is one row for each label kept, and each is copied to.
        let mut rows = unsafe { uninit(kept.len() * width) };
        let labelled = labels.iter().enumerate().filter(|(_, label)| label.is_some());
        for ((i, _), row) in labelled.zip(rows.chunks_exact_mut(width)) {
            hidden.range(i * width..(i + 1) * width).copy_to(row);
        }
        Self { hidden: rows, width, labels: kept }
    }

    /// First row and hidden states of each block. Without rows there is one empty block, so that gradients become zero.
    fn blocks(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let n = self.labels.len();
        let block = move |first: usize| (first, &self.hidden[first * self.width..(first + ROWS).min(n) * self.width]);
        (0..n.max(1)).step_by(ROWS).map(block)
    }
}

impl RowState {
    fn add(&mut self, logits: &[f32]) {
        let before = self.max;
        let (max, sum) = exponentials(logits, before);
        self.sum = self.sum * f64::from(before - max).exp() + f64::from(sum);
        self.max = max;
    }

    pub fn log_sum(&self) -> f32 {
        (f64::from(self.max) + self.sum.ln()) as f32
    }

    pub fn loss(&self) -> f64 {
        f64::from(self.max - self.label) + self.sum.ln()
    }
}

/// The log-sum-exp state of each row over the whole vocabulary.
pub(super) fn states(rows: &Rows, map: &Map) -> Vec<RowState> {
    let mut states = vec![RowState { max: f32::NEG_INFINITY, sum: 0.0, label: 0.0 }; rows.labels.len()];
    for words in blocks_of_words(map.part) {
        let (first, n) = (words.outputs.start, words.outputs.len());
        let packed = Packed::new(words.rows(map.weight), map.precision);
        let bias = map.bias.map(|bias| &bias[words.outputs.clone()]);
        for (start, hidden) in rows.blocks() {
            let logits = logits(hidden, rows.width, &packed, bias, |_, _, _| {});
            let (labels, states) = (&rows.labels[start..], &mut states[start..]);
            states.par_iter_mut().zip(logits.par_chunks_exact(n)).zip(labels).for_each(|((state, row), &label)| {
                state.add(row);
                if let Some(&logit) = (label as usize).checked_sub(first).and_then(|label| row.get(label)) {
                    state.label = logit;
                }
            });
        }
    }
    states
}

/// Which gradients are needed, besides that of the weight.
pub(super) struct Wanted {
    pub hidden: bool,
    pub bias: bool,
}

/// Accumulated gradients; None if not needed.
#[derive(Default)]
pub(super) struct Gradients {
    /// Gradient of the rows with a label, `[labels, D]`.
    pub hidden: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
}

/// Gradients times `scale`. Each block of logits is recomputed, and turned into probabilities with the log-sum-exp of
/// its rows. `dw` is the gradient of the weight, if needed, and whether to add to it.
pub(super) fn gradients<'r>(
    rows: &'r Rows,
    map: &Map,
    log_sums: &[f32],
    scale: f32,
    wanted: Wanted,
    mut dw: Option<(&mut [f32], bool)>,
) -> Gradients {
    let ([v, _], n) = (map.part.shape(), rows.hidden.len());
    // SAFETY: the first block of words writes all of `hidden`, and the first block of rows its columns of `bias`.
    let fresh = |wanted: bool, n| wanted.then(|| unsafe { uninit(n) });
    let mut sums = Gradients { hidden: fresh(wanted.hidden, n), bias: fresh(wanted.bias, v) };
    let d = rows.width;
    let columns = |hidden: &'r [f32]| Rhs::new(MatrixView::columns(hidden, d, hidden.len() / d), map.precision);
    let blocks = dw.is_some().then(|| rows.blocks()).into_iter().flatten();
    let hidden_columns: Vec<Rhs> = blocks.map(|(_, hidden)| columns(hidden)).collect();
    for words in blocks_of_words(map.part) {
        let (first, n) = (words.outputs.start, words.outputs.len());
        let packed = Packed::new(words.rows(map.weight), map.precision);
        let transposed = sums.hidden.is_some().then(|| Rhs::new(words.columns(map.weight), map.precision));
        let bias = map.bias.map(|bias| &bias[words.outputs.clone()]);
        for (i, (start, hidden)) in rows.blocks().enumerate() {
            let g = logits(hidden, d, &packed, bias, |row, column, z| {
                scaled_softmax(z, log_sums[start + row], scale);
                let label = (rows.labels[start + row] as usize).checked_sub(first + column);
                if let Some(z) = label.and_then(|label| z.get_mut(label)) {
                    *z -= scale;
                }
            });
            let count = g.len() / n;
            if let (Some(dh), Some(transposed)) = (&mut sums.hidden, &transposed) {
                let out = Output::new(&mut dh[start * d..][..hidden.len()], d, first > 0);
                matmul(MatrixView::rows(&g, count, n), transposed.whole(), out, |_, _, _| {});
            }
            if let Some((dw, add)) = &mut dw {
                let out = Output::new(&mut dw[first * d..][..n * d], d, *add || i > 0);
                matmul(MatrixView::columns(&g, n, count), hidden_columns[i].whole(), out, |_, _, _| {});
            }
            if let Some(db) = &mut sums.bias {
                let (db, sum) = (&mut db[words.outputs.clone()], sum_rows(&g, n));
                if i > 0 { sum_rows_into(db, &sum) } else { db.copy_from_slice(&sum) }
            }
        }
    }
    sums
}

/// Writes the rows of `sum` to the rows of `dh` that have a label; the other rows get zero.
pub(super) fn scatter(sum: &[f32], labels: &[Option<u32>], d: usize, dh: &mut [f32], add: bool) {
    let mut sum = sum.chunks_exact(d);
    for (row, label) in dh.chunks_exact_mut(d).zip(labels) {
        match label.and_then(|_| sum.next()) {
            Some(sum) if add => sum_rows_into(row, sum),
            Some(sum) => row.copy_from_slice(sum),
            None if !add => row.fill(0.0),
            None => {}
        }
    }
}

/// Parts of the output layer with [`WORDS`] vocabulary entries each.
fn blocks_of_words(part: &Part) -> impl Iterator<Item = Part> {
    let [v, _] = part.shape();
    (0..v).step_by(WORDS).map(move |first| {
        let mut words = part.clone();
        words.outputs = first..(first + WORDS).min(v);
        words
    })
}

/// Computes a block of logits `[rows, words]` and calls `finish(row, column, values)` to transform each piece of a row
/// in place.
fn logits(
    hidden: &[f32],
    width: usize,
    weight: &Packed,
    bias: Option<&[f32]>,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let (rows, [words, _]) = (hidden.len() / width, weight.shape());
    // SAFETY: the product writes all values.
    let mut z = unsafe { uninit(rows * words) };
    matmul(
        MatrixView::rows(hidden, rows, width),
        weight.whole(),
        Output::new(&mut z, words, false),
        |row, column, z| {
            if let Some(bias) = bias {
                add_bias_to_rows(z, &bias[column..][..z.len()]);
            }
            finish(row, column, z);
        },
    );
    z
}

vectorised! {
    /// Returns the new maximum of `logits` and `max`, and the sum of `exp(logit - maximum)` over `logits`.
    fn exponentials(logits: &[f32], max: f32) -> (f32, f32) {
        let max = math::max(logits, |x| x).max(max);
        (max, math::sum(logits, |z| math::exp_small(z - max)))
    }
}

vectorised! {
    /// Replaces `z` by `scale * exp(z - log_sum)`.
    fn scaled_softmax(z: &mut [f32], log_sum: f32, scale: f32) {
        for z in z {
            *z = scale * math::exp_small(*z - log_sum);
        }
    }
}
