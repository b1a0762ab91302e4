//! The cross entropy of a language model, whose logits never exist whole: `loss = sum over rows with a label y of
//! (log sum_v exp(z_v) - z_y) / normalizer`, with `z = h W^T + b`.
//!
//! Shapes: hidden states `h [N, D]`, `W [V, D]`, `b [V]`, logits `z [N, V]`. Rows without a label cost nothing. The logits
//! come in blocks of [`ROWS`] rows and [`WORDS`] words, 8 MiB, one after the other, each of them computed in parallel. The
//! forward pass keeps the logarithm of each row's sum alone; the backward pass computes each block again, and with
//! `g = (softmax(z) - [v = y]) / normalizer` in its place `dh += g W`, `dW = g^T h`, `db = sum over rows of g`, each word's
//! straight into its own place.
//!
//! That is one product of four more than is needed. To do without it is to make the gradients in the forward pass, a few whole
//! rows at a time, as Liger-Kernel does (Hsu et al. 2024): it adds to all of `dW`, in memory of its own, and reads all of `W`
//! for each of them. With N = 1024, D = 768, V = 50257 in f32 (bf16) on two cores, 1.6 (0.83) s and 30 MiB here are 1.8 (1.1)
//! s by 128 rows, 1.5 (0.9) s by 256 rows, which take 200 MiB, and 1.3 (0.69) s with whole logits, which take 400 MiB.

use rayon::prelude::*;

use super::affine::{Affine, Part};
use crate::array::{Array, rows_and_columns};
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{add_rows, add_to_rows, sum_rows, uninit};
use crate::error::{Error, Result};
use crate::product::{Lines, Output, Packed, Precision, Right, product};

/// Rows of a block of logits.
const ROWS: usize = 1024;
/// Words of a block of logits.
const WORDS: usize = 2048;
/// Bytes of a block of logits.
pub const BLOCK_BYTES: usize = 4 * ROWS * WORDS;

/// The loss, a scalar, of `hidden [.., D]` through `map` to the vocabulary, of which each row is held against its label;
/// rows without one are ignored. `hidden` may be f32 or bf16. `map` must be all of a weight `[V, D]`.
pub fn vocabulary_loss(
    hidden: &Value,
    map: &Affine,
    labels: Vec<Option<u32>>,
    normalizer: f64,
    precision: Precision,
) -> Result<Value> {
    let rows = Rows::new(hidden.array(), map, &labels)?;
    let states = rows.states(map, precision)?;
    let total: f64 = states.iter().map(RowState::loss).sum();
    let inputs: Vec<&Value> = [hidden, &map.weight].into_iter().chain(&map.bias).collect();
    let log_sums = states.iter().map(RowState::log_sum).collect();
    let op = VocabularyLoss { part: map.part.clone(), labels, log_sums, normalizer, precision };
    Ok(Value::computed(Array::new(vec![(total / normalizer) as f32], ())?, &inputs, op))
}

/// The negative logarithm of the probability of each row's label, as [`vocabulary_loss`] sums them; none where there is no
/// label. No gradient flows.
pub fn token_losses(
    hidden: &Value,
    map: &Affine,
    labels: &[Option<u32>],
    precision: Precision,
) -> Result<Vec<Option<f32>>> {
    let mut states = Rows::new(hidden.array(), map, labels)?.states(map, precision)?.into_iter();
    let loss = |label: &Option<u32>| label.and_then(|_| states.next()).map(|state| state.loss() as f32);
    Ok(labels.iter().map(loss).collect())
}

/// The rows that have a label.
struct Rows {
    /// Their hidden states, `[labels, D]`.
    hidden: Vec<f32>,
    width: usize,
    labels: Vec<u32>,
}

/// What is known of a row's logits so far.
#[derive(Clone)]
struct RowState {
    max: f32,
    /// Of `exp(z - max)`.
    sum: f64,
    /// The label's logit.
    label: f32,
}

impl Rows {
    fn new(hidden: &Array, map: &Affine, labels: &[Option<u32>]) -> Result<Self> {
        let ((n, k), [v, d]) = (rows_and_columns("vocabulary loss", hidden.shape())?, map.shape());
        let bad = labels.iter().flatten().find(|y| **y as usize >= v);
        if n != labels.len() || k != d || d == 0 || bad.is_some() || map.part.input_major || !map.part.is_whole() {
            return Err(Error::internal(format!(
                "vocabulary loss: got hidden states {:?}, {} labels, label {bad:?}, a weight {:?} of which [{v}, {d}]",
                hidden.shape(),
                labels.len(),
                map.weight.array().shape(),
            )));
        }
        Self::gather(hidden, d, labels)
    }

    fn gather(hidden: &Array, width: usize, labels: &[Option<u32>]) -> Result<Self> {
        let hidden = hidden.operand()?;
        let kept: Vec<u32> = labels.iter().flatten().copied().collect();
        // SAFETY: there are as many rows as labels are kept, and each is copied to.
        let mut rows = unsafe { uninit(kept.len() * width) };
        let labelled = labels.iter().enumerate().filter(|(_, label)| label.is_some());
        for ((i, _), row) in labelled.zip(rows.chunks_exact_mut(width)) {
            hidden.elements().range(i * width..(i + 1) * width).copy_to(row);
        }
        Ok(Self { hidden: rows, width, labels: kept })
    }

    /// The begin of each block of rows, and its hidden states. No rows are one block without rows, whose sums are zero.
    fn blocks(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let n = self.labels.len();
        let block = move |first: usize| (first, &self.hidden[first * self.width..(first + ROWS).min(n) * self.width]);
        (0..n.max(1)).step_by(ROWS).map(block)
    }

    fn states(&self, map: &Affine, precision: Precision) -> Result<Vec<RowState>> {
        let weight = map.weight.array().values()?;
        let bias = map.bias.as_ref().map(|bias| bias.array().values()).transpose()?;
        let mut states = vec![RowState { max: f32::NEG_INFINITY, sum: 0.0, label: 0.0 }; self.labels.len()];
        for words in blocks_of_words(&map.part) {
            let (first, n) = (words.outputs.start, words.outputs.len());
            let packed = Packed::new(words.rows(&weight), precision);
            let bias = bias.as_ref().map(|bias| &bias[words.outputs.clone()]);
            for (start, hidden) in self.blocks() {
                let logits = logits(hidden, self.width, &packed, bias, |_, _, _| {});
                let (labels, states) = (&self.labels[start..], &mut states[start..]);
                states.par_iter_mut().zip(logits.par_chunks_exact(n)).zip(labels).for_each(|((state, row), &label)| {
                    state.add(row);
                    if let Some(&logit) = (label as usize).checked_sub(first).and_then(|label| row.get(label)) {
                        state.label = logit;
                    }
                });
            }
        }
        Ok(states)
    }
}

impl RowState {
    fn add(&mut self, logits: &[f32]) {
        let before = self.max;
        let (max, sum) = exponentials(logits, before);
        self.sum = self.sum * f64::from(before - max).exp() + f64::from(sum);
        self.max = max;
    }

    fn log_sum(&self) -> f32 {
        (f64::from(self.max) + self.sum.ln()) as f32
    }

    fn loss(&self) -> f64 {
        f64::from(self.max - self.label) + self.sum.ln()
    }
}

vectorised! {
    /// The largest of `logits` and `max`, and the sum of the exponentials of what they are below it.
    fn exponentials(logits: &[f32], max: f32) -> (f32, f32) {
        let max = math::max(logits, |x| x).max(max);
        (max, math::sum(logits, |z| math::exp_small(z - max)))
    }
}

vectorised! {
    /// `scale * exp(z - log_sum)` in place of `z`.
    fn scaled_softmax(z: &mut [f32], log_sum: f32, scale: f32) {
        for z in z {
            *z = scale * math::exp_small(*z - log_sum);
        }
    }
}

/// The map's words, [`WORDS`] at a time.
fn blocks_of_words(part: &Part) -> impl Iterator<Item = Part> {
    let [v, _] = part.shape();
    (0..v).step_by(WORDS).map(move |first| {
        let mut words = part.clone();
        words.outputs = first..(first + WORDS).min(v);
        words
    })
}

/// What `finish(row, column, values)` makes, in place, of each piece of a row of a block of logits `[rows, words]`.
fn logits(
    hidden: &[f32],
    width: usize,
    weight: &Packed,
    bias: Option<&[f32]>,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let (rows, [words, _]) = (hidden.len() / width, weight.shape());
    // SAFETY: the product writes them all.
    let mut z = unsafe { uninit(rows * words) };
    product(Lines::rows(hidden, rows, width), weight.whole(), Output::new(&mut z, words, false), |row, column, z| {
        if let Some(bias) = bias {
            add_to_rows(z, &bias[column..][..z.len()]);
        }
        finish(row, column, z);
    });
    z
}

struct VocabularyLoss {
    part: Part,
    labels: Vec<Option<u32>>,
    /// Of each row with a label.
    log_sums: Vec<f32>,
    normalizer: f64,
    precision: Precision,
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for VocabularyLoss {
    fn name(&self) -> &'static str {
        "vocabulary loss"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let ([hidden, weight, rest @ ..], [dh, dw, db @ ..]) = (inputs, into) else {
            return Err(Error::internal("got fewer than two inputs"));
        };
        let ([v, d], scale) = (self.part.shape(), (f64::from(gradient.values()?[0]) / self.normalizer) as f32);
        let rows = Rows::gather(hidden, d, &self.labels)?;
        let bias = rest.first().map(|bias| bias.values()).transpose()?;
        // SAFETY: the first block of words writes all of `hidden`, and the first block of rows its words of `bias`.
        let wanted = |slot: &Slot, n| slot.wanted().then(|| unsafe { uninit(n) });
        let mut sums = Sums { hidden: wanted(dh, rows.hidden.len()), bias: db.first().and_then(|db| wanted(db, v)) };
        let weight = weight.values()?;
        // One parameter's gradient at a time can be open: that of `W`, which is large.
        if dw.wanted() {
            dw.write(|dw, add| self.pass(&rows, &weight, bias.as_deref(), scale, &mut sums, Some((dw, add))))?;
        } else {
            self.pass(&rows, &weight, bias.as_deref(), scale, &mut sums, None);
        }
        if let Some(sum) = sums.hidden {
            dh.write(|dh, add| self.scatter(&sum, d, dh, add))?;
        }
        match (db, sums.bias) {
            ([db, ..], Some(sum)) => db.give(Array::new(sum, v)?),
            _ => Ok(()),
        }
    }
}

/// Gradients as they grow, where they are wanted.
struct Sums {
    /// Of the rows with a label.
    hidden: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

impl VocabularyLoss {
    /// Compute all blocks again, and the gradients from them; that of the weight is `dw`, to be added to where it says so.
    fn pass<'r>(
        &self,
        rows: &'r Rows,
        weight: &[f32],
        bias: Option<&[f32]>,
        scale: f32,
        sums: &mut Sums,
        mut dw: Option<(&mut [f32], bool)>,
    ) {
        let d = rows.width;
        let columns =
            |(_, hidden): (usize, &'r [f32])| Right::new(Lines::columns(hidden, d, hidden.len() / d), self.precision);
        let hidden_columns: Vec<Right> = if dw.is_some() { rows.blocks().map(columns).collect() } else { Vec::new() };
        for words in blocks_of_words(&self.part) {
            let (first, n) = (words.outputs.start, words.outputs.len());
            let packed = Packed::new(words.rows(weight), self.precision);
            let transposed = sums.hidden.is_some().then(|| Right::new(words.columns(weight), self.precision));
            let bias = bias.map(|bias| &bias[words.outputs.clone()]);
            for (i, (start, hidden)) in rows.blocks().enumerate() {
                let g = logits(hidden, d, &packed, bias, |row, column, z| {
                    scaled_softmax(z, self.log_sums[start + row], scale);
                    let label = (rows.labels[start + row] as usize).checked_sub(first + column);
                    if let Some(z) = label.and_then(|label| z.get_mut(label)) {
                        *z -= scale;
                    }
                });
                let count = g.len() / n;
                if let (Some(dh), Some(transposed)) = (&mut sums.hidden, &transposed) {
                    let out = Output::new(&mut dh[start * d..][..hidden.len()], d, first > 0);
                    product(Lines::rows(&g, count, n), transposed.whole(), out, |_, _, _| {});
                }
                if let Some((dw, add)) = &mut dw {
                    let out = Output::new(&mut dw[first * d..][..n * d], d, *add || i > 0);
                    product(Lines::columns(&g, n, count), hidden_columns[i].whole(), out, |_, _, _| {});
                }
                if let Some(db) = &mut sums.bias {
                    let (db, sum) = (&mut db[words.outputs.clone()], sum_rows(&g, n));
                    if i > 0 { add_rows(db, &sum) } else { db.copy_from_slice(&sum) }
                }
            }
        }
    }

    /// Put the rows of `sum` where their labels are; the others are zero.
    fn scatter(&self, sum: &[f32], d: usize, dh: &mut [f32], add: bool) {
        let mut sum = sum.chunks_exact(d);
        for (row, label) in dh.chunks_exact_mut(d).zip(&self.labels) {
            match label.and_then(|_| sum.next()) {
                Some(sum) if add => add_rows(row, sum),
                Some(sum) => row.copy_from_slice(sum),
                None if !add => row.fill(0.0),
                None => {}
            }
        }
    }
}
