//! Memory of previous segments (Transformer-XL, Dai et al. 2019): hidden states that tokens attend to, without
//! gradients.

use std::ops::Range;
use std::sync::Arc;

use crate::array::Array;
use crate::autograd::Var;
use crate::error::{Error, Result};
use crate::ops::embedding::stacked_rows;

/// Hidden states of previous segments.
#[derive(Clone)]
pub struct Memory {
    /// The memory of each layer's input, starting with the embedding output: `[M, D]` each.
    pub hidden: Vec<Array>,
    /// Offsets of the sequences' memories, with the end, `[B + 1]`.
    pub cu_seqlens: Arc<[u32]>,
}

/// The part of a pass to remember for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remember {
    /// For each sequence of the next pass, in its order: the sequence of this pass that it continues, and the range of
    /// its tokens.
    pub sequences: Vec<(usize, Range<u32>)>,
    /// Most states to keep per sequence; the last ones are kept.
    pub keep: usize,
}

impl Memory {
    /// The memory after a pass: `before` is the memory it had, `hidden` the rows' states `[R, D]` from the embedding
    /// output to the last layer, and `starts[i]` the row of the first token of sequence `i`. `remember` selects what is
    /// kept.
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
            let parts: Vec<Var> = parts.map(Var::constant).collect();
            Ok(stacked_rows(&parts.iter().collect::<Vec<_>>(), rows.clone())?.array().clone())
        };
        Ok(Self { hidden: (0..layers).map(state).collect::<Result<_>>()?, cu_seqlens: ends.into() })
    }

    /// The same memory extended to `n` sequences; the added ones have none.
    #[must_use]
    pub fn among(self, n: usize) -> Self {
        let end = self.cu_seqlens.last().copied().unwrap_or(0);
        let missing = (n + 1).saturating_sub(self.cu_seqlens.len());
        let cu_seqlens = self.cu_seqlens.iter().copied().chain(std::iter::repeat_n(end, missing)).collect();
        Self { cu_seqlens, ..self }
    }
}

/// Check that `starts` holds `n` offsets: those of `n - 1` sequences in ascending order from 0, and the end, `total`
/// rows.
pub(super) fn check_starts(what: &str, starts: &[u32], n: usize, total: usize) -> Result<()> {
    let covers = starts.first() == Some(&0) && starts.last().is_some_and(|&end| end as usize == total);
    if starts.len() == n && starts.is_sorted() && covers {
        return Ok(());
    }
    Err(Error::internal(format!("{what}: got {} sequences and {total} rows, expected {n} sequences", starts.len())))
}
