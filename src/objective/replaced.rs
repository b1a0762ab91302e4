//! Replaced token detection (ELECTRA, Clark et al. 2020): a discriminator predicts which tokens a generator has
//! substituted. The generator is trained as a masked language model; the tokens it draws at the masked positions are
//! filled in to make the discriminator's input.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::rng::Key;

/// Draw a token from `softmax(row)` for each row of `logits [n, vocab_size]`; row `i` uses value `i` of `key`. A logit
/// of minus infinity is never drawn; a row from which no token can be drawn is an error.
pub fn sample(logits: &[f32], vocab_size: usize, key: Key) -> Result<Vec<u32>> {
    if vocab_size == 0 || !logits.len().is_multiple_of(vocab_size) {
        let n = logits.len();
        return Err(Error::internal(format!("drawing tokens: got {n} logits for a vocabulary of {vocab_size}")));
    }
    let rows = logits.par_chunks_exact(vocab_size).enumerate();
    rows.map(|(i, row)| draw(row, key.uniform(i as u64))).collect()
}

/// The first token at which the cumulative probability exceeds `u`.
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
