//! Dropout masks, computed from a random key and the element's index; identical bits on every device.

use std::ops::Range;

use crate::rng::{COUNTERS, Key, hashes32};

/// Number of elements that share a 32-bit key.
pub(super) const BLOCK: usize = COUNTERS;

/// Dropout probability, and the random key of the mask.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    key: Key,
    /// Elements whose hash is at least this are kept.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Dropout with probability `p` in [0, 1).
    pub fn new(p: f64, key: Key) -> Self {
        Self { key, threshold: (p * (1u64 << 32) as f64) as u32, scale: (1.0 / (1.0 - p)) as f32 }
    }

    /// The same probability with an independent mask.
    pub(in crate::ops) fn child(self, counter: u64) -> Self {
        Self { key: self.key.child(counter), ..self }
    }

    /// `1 / (1 - p)`, the factor of kept elements.
    pub(in crate::ops) fn scale(&self) -> f32 {
        self.scale
    }

    /// Dropout factors (0 or `1 / (1 - p)`) of the elements `start .. start + len`, in pieces: the range of each,
    /// counted from 0, and its factors.
    #[inline(always)]
    pub(in crate::ops) fn factors(
        self,
        start: usize,
        len: usize,
    ) -> impl Iterator<Item = (Range<usize>, impl Iterator<Item = f32>)> {
        let Self { key, threshold, scale } = self;
        (start / BLOCK..(start + len).div_ceil(BLOCK)).map(move |block| {
            let first = block * BLOCK;
            let here = start.max(first)..(start + len).min(first + BLOCK);
            let hashes = hashes32(key.child(block as u64).low32(), here.start - first..here.end - first);
            let factor = move |hash| if hash >= threshold { scale } else { 0.0 };
            (here.start - start..here.end - start, hashes.map(factor))
        })
    }
}
