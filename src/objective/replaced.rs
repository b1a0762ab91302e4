//! Replaced token detection (ELECTRA, Clark et al. 2020): a discriminator tells which tokens a generator has put in the place
//! of others. The generator is trained on the masked sequence, as any masked language model; what it draws for the masked
//! places makes the discriminator's sequence.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::rng::Key;

/// What the discriminator gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    pub ids: Vec<u32>,
    /// True where the token is not the original one; drawn tokens that happen to be the original are not replaced.
    pub replaced: Vec<bool>,
}

impl Replaced {
    /// From the original `ids`, the `labels` with which they were masked, and what was drawn for each label, in their order.
    pub fn new(ids: &[u32], labels: &[Option<u32>], drawn: &[u32]) -> Result<Self> {
        let n = labels.iter().flatten().count();
        if ids.len() != labels.len() || n != drawn.len() {
            let (ids, labels, drawn) = (ids.len(), labels.len(), drawn.len());
            return Err(Error::internal(format!(
                "replacing: got {ids} ids, {labels} labels of {n}, {drawn} drawn tokens"
            )));
        }
        let mut drawn = drawn.iter();
        let token = |(&id, label): (&u32, &Option<u32>)| label.and_then(|_| drawn.next().copied()).unwrap_or(id);
        let new: Vec<u32> = ids.iter().zip(labels).map(token).collect();
        let replaced = new.iter().zip(ids).map(|(new, id)| new != id).collect();
        Ok(Self { ids: new, replaced })
    }
}

/// A token drawn from `softmax(row)` for each row of `logits [n, vocab_size]`; row `i` by the value `i` of `key`. A minus
/// infinity is never drawn; logits of which none can be is an error.
pub fn sample(logits: &[f32], vocab_size: usize, key: Key) -> Result<Vec<u32>> {
    if vocab_size == 0 || !logits.len().is_multiple_of(vocab_size) {
        let n = logits.len();
        return Err(Error::internal(format!("drawing tokens: got {n} logits for a vocabulary of {vocab_size}")));
    }
    let rows = logits.par_chunks_exact(vocab_size).enumerate();
    rows.map(|(i, row)| draw(row, key.uniform(i as u64))).collect()
}

/// The token at which the sum of the probabilities passes `u`.
fn draw(logits: &[f32], u: f64) -> Result<u32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |z: &f32| f64::from(z - max).exp();
    let total = logits.iter().map(weight).sum::<f64>();
    if !total.is_finite() {
        return Err(Error::Training("the generator's logits are not finite: lower the learning rate".into()));
    }
    let (mut rest, mut last) = (u * total, 0);
    for (token, weight) in (0u32..).zip(logits.iter().map(weight)) {
        if weight > 0.0 {
            last = token;
            rest -= weight;
        }
        if rest < 0.0 {
            break;
        }
    }
    Ok(last)
}
