//! Sampling of the next token from logits: the processors of transformers (5.x), in their order, then a draw.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::rng::Key;

/// Options of sampling.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Temperature; 0 takes the likeliest token (greedy decoding).
    pub temperature: f32,
    /// Draw only from the `top_k` likeliest tokens; none: all.
    pub top_k: Option<usize>,
    /// Nucleus sampling: draw only from the likeliest tokens that together have probability `top_p`; 1: all.
    pub top_p: f32,
    /// Divides positive logits of tokens already in the text and multiplies negative ones (Keskar et al. 2019).
    pub repetition_penalty: f32,
}

impl Sampling {
    pub(super) fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::Value(what));
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return bad(format!("temperature={}: expected 0 or more", self.temperature));
        }
        if self.top_k == Some(0) {
            return bad("top_k=0: expected at least 1, or None for all".into());
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad(format!("top_p={}: expected more than 0 and at most 1", self.top_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return bad(format!("repetition_penalty={}: expected more than 0", self.repetition_penalty));
        }
        Ok(())
    }

    /// Choose the next token by `logits [V]`; `there` are the ids of the text so far. The draw uses value `step` of
    /// `key`.
    pub(super) fn next(&self, logits: &mut [f32], there: &[u32], key: Key, step: u64) -> Result<u32> {
        if self.repetition_penalty != 1.0 {
            let mut once = there.to_vec();
            once.sort_unstable();
            once.dedup();
            for id in once {
                if let Some(logit) = logits.get_mut(id as usize) {
                    let penalty = self.repetition_penalty;
                    *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
                }
            }
        }
        if logits.iter().any(|x| x.is_nan()) {
            return Err(Error::Training("the model's logits are not numbers".into()));
        }
        let likeliest = || {
            logits
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best })
        };
        if self.temperature == 0.0 {
            return Ok(likeliest().0 as u32);
        }
        let max = likeliest().1;
        let weight = |x: f32| f64::from((x - max) / self.temperature).exp();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        // Ties go to the lower id.
        let rank = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if let Some(k) = self.top_k.filter(|&k| k < order.len()) {
            order.select_nth_unstable_by(k - 1, rank);
            // Tokens tied with the last one stay too, as in transformers.
            let last = logits[order[k - 1] as usize];
            order = (0..logits.len() as u32).filter(|&id| logits[id as usize] >= last).collect();
        }
        if self.top_p < 1.0 {
            order.sort_unstable_by(rank);
            let total: f64 = order.iter().map(|&id| weight(logits[id as usize])).sum();
            let mut sum = 0.0;
            let enough = order.iter().position(|&id| {
                sum += weight(logits[id as usize]) / total;
                sum >= f64::from(self.top_p)
            });
            order.truncate(enough.map_or(order.len(), |i| i + 1));
        }
        let total: f64 = order.iter().map(|&id| weight(logits[id as usize])).sum();
        let mut rest = key.uniform(step) * total;
        let drawn = order.iter().find(|&&id| {
            rest -= weight(logits[id as usize]);
            rest < 0.0
        });
        drawn.or(order.last()).copied().ok_or_else(|| Error::internal("no token to draw"))
    }
}
