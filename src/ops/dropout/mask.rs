//! Which elements dropout keeps: a function of a key and the element's index, the same bits on every device.

use std::ops::Range;

use crate::rng::{COUNTERS, Key, hashes32};

/// Elements that share a 32-bit key.
pub(super) const BLOCK: usize = COUNTERS;

/// A probability of dropping and the key the mask follows from.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    key: Key,
    /// Keep where the hash is at least this.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Drop with probability `p` in [0, 1).
    pub fn new(p: f64, key: Key) -> Self {
        Self { key, threshold: (p * (1u64 << 32) as f64) as u32, scale: (1.0 / (1.0 - p)) as f32 }
    }

    /// The same probability with an unrelated mask.
    pub(in crate::ops) fn child(self, counter: u64) -> Self {
        Self { key: self.key.child(counter), ..self }
    }

    /// `1 / (1 - p)`, by which is multiplied what is kept.
    pub(in crate::ops) fn scale(&self) -> f32 {
        self.scale
    }

    /// The elements `start .. start + len` in pieces: where each lies, counted from 0, and the factors of its elements, which
    /// are 0 or `1 / (1 - p)`.
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
