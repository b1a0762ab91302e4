//! The cross entropy of a language model, whose logits never exist whole: `loss = sum over rows with a label y of
//! (log sum_v exp(z_v) - z_y) / normalizer`, with `z = h W^T + b`.
//!
//! Shapes: hidden states `h [N, D]`, `W [V, D]`, `b [V]`, logits `z [N, V]`. Rows without a label cost nothing. The logits
//! come in blocks of 1024 rows and 2048 words, 8 MiB, one after the other, each of them computed in parallel. The
//! forward pass keeps the logarithm of each row's sum alone; the backward pass computes each block again, and with
//! `g = (softmax(z) - [v = y]) / normalizer` in its place `dh += g W`, `dW = g^T h`, `db = sum over rows of g`, each word's
//! straight into its own place.
//!
//! That is one product of four more than is needed. To do without it is to make the gradients in the forward pass, a few whole
//! rows at a time, as Liger-Kernel does (Hsu et al. 2024): it adds to all of `dW`, in memory of its own, and reads all of `W`
//! for each of them. With N = 1024, D = 768, V = 50257 in f32 (bf16) on two cores, 1.6 (0.83) s and 30 MiB here are 1.8 (1.1)
//! s by 128 rows, 1.5 (0.9) s by 256 rows, which take 200 MiB, and 1.3 (0.69) s with whole logits, which take 400 MiB.

mod cpu;

use super::affine::{Affine, Part};
use crate::array::{Array, rows_and_columns};
use crate::autograd::{Op, Slot, Value};
use crate::error::{Error, Result};
use crate::product::Precision;
pub use cpu::BLOCK_BYTES;
use cpu::RowState;

/// The loss, a scalar, of `hidden [.., D]` through `map` to the vocabulary, of which each row is held against its label;
/// rows without one are ignored. `hidden` may be f32 or bf16. `map` must be all of a weight `[V, D]`.
pub fn vocabulary_loss(
    hidden: &Value,
    map: &Affine,
    labels: Vec<Option<u32>>,
    normalizer: f64,
    precision: Precision,
) -> Result<Value> {
    let states = states(hidden.array(), map, &labels, precision)?;
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
    let mut states = states(hidden.array(), map, labels, precision)?.into_iter();
    let loss = |label: &Option<u32>| label.and_then(|_| states.next()).map(|state| state.loss() as f32);
    Ok(labels.iter().map(loss).collect())
}

/// What is known of the logits of each row with a label. An error if shapes do not fit.
fn states(hidden: &Array, map: &Affine, labels: &[Option<u32>], precision: Precision) -> Result<Vec<RowState>> {
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
    let rows = cpu::Rows::gather(hidden.operand()?.elements(), d, labels);
    let weight = map.weight.array().values()?;
    let bias = map.bias.as_ref().map(|bias| bias.array().values()).transpose()?;
    Ok(cpu::states(&rows, &cpu::Map { part: &map.part, weight: &weight, bias: bias.as_deref(), precision }))
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
        let rows = cpu::Rows::gather(hidden.operand()?.elements(), d, &self.labels);
        let (weight, bias) = (weight.values()?, rest.first().map(|bias| bias.values()).transpose()?);
        let map = cpu::Map { part: &self.part, weight: &weight, bias: bias.as_deref(), precision: self.precision };
        let wanted = cpu::Wanted { hidden: dh.wanted(), bias: db.first().is_some_and(Slot::wanted) };
        let gradients = |dw: Option<(&mut [f32], bool)>| cpu::gradients(&rows, &map, &self.log_sums, scale, wanted, dw);
        // One parameter's gradient at a time can be open: that of `W`, which is large.
        let mut sums = cpu::Gradients::default();
        if dw.wanted() {
            dw.write(|dw, add| sums = gradients(Some((dw, add))))?;
        } else {
            sums = gradients(None);
        }
        if let Some(sum) = sums.hidden {
            dh.write(|dh, add| cpu::scatter(&sum, &self.labels, d, dh, add))?;
        }
        match (db, sums.bias) {
            ([db, ..], Some(sum)) => db.give(Array::new(sum, v)?),
            _ => Ok(()),
        }
    }
}
