//! Memory of the segments before (Transformer-XL, Dai et al. 2019): hidden states that tokens see and gradients do not reach.

use std::ops::Range;
use std::sync::Arc;

use crate::array::Array;
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::ops::embedding::stacked_rows;

/// Hidden states of the segments before.
#[derive(Clone)]
pub struct Memory {
    /// What each layer takes, from the embedding output on: `[M, D]`.
    pub hidden: Vec<Array>,
    /// Where the memory of each sequence begins, and the end, `[B + 1]`.
    pub cu_seqlens: Arc<[u32]>,
}

/// What of a pass is remembered for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remember {
    /// The sequences of the pass that the next one goes on with, in its order: which, and which of its tokens.
    pub sequences: Vec<(usize, Range<u32>)>,
    /// States of each at most, the last ones.
    pub keep: usize,
}

impl Memory {
    /// What `remember` asks for of a pass with the memory `before`, of which `hidden` are the rows' states from the embedding
    /// output to the last, `[R, D]`, and the tokens of sequence `i` begin in row `starts[i]`.
    pub fn after(before: Option<&Self>, hidden: &[Array], starts: &[u32], remember: &Remember) -> Result<Self> {
        let none = Self { hidden: Vec::new(), cu_seqlens: vec![0; starts.len() + 1].into() };
        let before = before.unwrap_or(&none);
        let remembered = before.cu_seqlens.last().copied().unwrap_or(0);
        check_starts("memory", &before.cu_seqlens, starts.len() + 1, remembered as usize)?;
        let (mut rows, mut ends) = (Vec::new(), vec![0]);
        for (sequence, tokens) in &remember.sequences {
            let (Some(&start), Some([old, old_end, ..])) = (starts.get(*sequence), before.cu_seqlens.get(*sequence..))
            else {
                return Err(Error::internal(format!("memory: got sequence {sequence} of {}", starts.len())));
            };
            let own = tokens.clone().map(|token| remembered + start + token);
            let n = (old_end - old) as usize + own.len();
            rows.extend((*old..*old_end).chain(own).skip(n.saturating_sub(remember.keep)));
            ends.push(rows.len() as u32);
        }
        let rows: Arc<[u32]> = rows.into();
        let layers = hidden.len().saturating_sub(1);
        let state = |layer: usize| {
            let parts = before.hidden.get(layer).into_iter().chain(&hidden[layer..=layer]).cloned();
            let parts: Vec<Value> = parts.map(Value::constant).collect();
            Ok(stacked_rows(&parts.iter().collect::<Vec<_>>(), rows.clone())?.array().clone())
        };
        Ok(Self { hidden: (0..layers).map(state).collect::<Result<_>>()?, cu_seqlens: ends.into() })
    }

    /// That of `n` sequences, those behind its own without any.
    #[must_use]
    pub fn among(self, n: usize) -> Self {
        let end = self.cu_seqlens.last().copied().unwrap_or(0);
        let missing = (n + 1).saturating_sub(self.cu_seqlens.len());
        let cu_seqlens = self.cu_seqlens.iter().copied().chain(std::iter::repeat_n(end, missing)).collect();
        Self { cu_seqlens, ..self }
    }
}

/// That `starts` are those of `n - 1` sequences with `total` rows, and the end.
pub(super) fn check_starts(what: &str, starts: &[u32], n: usize, total: usize) -> Result<()> {
    let covers = starts.first() == Some(&0) && starts.last().is_some_and(|&end| end as usize == total);
    if starts.len() == n && starts.is_sorted() && covers {
        return Ok(());
    }
    Err(Error::internal(format!("{what}: got {} sequences and {total} rows, expected {n} sequences", starts.len())))
}
