//! The only randomness: seeded, counter-based, one named stream for each use.
//!
//! A value is a pure function of (seed, stream, counters), so results do not depend on the number of threads, on the
//! order of evaluation, or on what else drew numbers before. Mixing functions: SplitMix64 (Steele, Lea, Flood 2014) for
//! keys, and the 32-bit finaliser "lowbias32" (Wellons 2018) for bulk values, which vectorises.

use std::f64::consts::TAU;
use std::ops::Range;

/// What the numbers are for; each use has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Initial values of new parameters.
    Init = 1,
    /// Dropout masks.
    Dropout = 2,
    /// The order of examples.
    Shuffle = 3,
    /// The tokens a masked language model is asked for, and what stands in their place.
    Masking = 4,
    /// The tokens a permutation language model is asked for, and their order.
    Permutation = 5,
    /// Tokens drawn from a model's probabilities.
    Sampling = 6,
}

/// A key from which values are drawn by counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of a stream under a seed.
    pub fn new(seed: u64, stream: Stream) -> Self {
        Self(split_mix(split_mix(seed) ^ (stream as u64)))
    }

    /// A key below this one; different counters give unrelated keys.
    #[must_use]
    pub fn child(self, counter: u64) -> Self {
        Self(split_mix(self.0 ^ split_mix(counter)))
    }

    /// A key below this one, named.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        name.bytes().fold(self, |key, byte| key.child(u64::from(byte)))
    }

    /// Uniform over all of `u64`.
    pub fn uniform_u64(self, counter: u64) -> u64 {
        self.child(counter).0
    }

    /// Uniform in the open interval (0, 1).
    pub fn uniform(self, counter: u64) -> f64 {
        ((self.uniform_u64(counter) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; 0 if `n` is.
    pub fn below(self, counter: u64, n: usize) -> usize {
        ((u128::from(self.uniform_u64(counter)) * n as u128) >> 64) as usize
    }

    /// `n` values of the normal distribution with mean 0 and the given standard deviation (Box-Muller).
    pub fn normal(self, n: usize, std: f64) -> Vec<f32> {
        (0..n as u64)
            .map(|i| {
                let (u, v) = (self.uniform(2 * i), self.uniform(2 * i + 1));
                (std * (-2.0 * u.ln()).sqrt() * (TAU * v).cos()) as f32
            })
            .collect()
    }

    /// As [`Key::normal`], each value drawn again until it is within `cutoff` standard deviations.
    pub fn truncated_normal(self, n: usize, std: f64, cutoff: f64) -> Vec<f32> {
        let within = |x: &f32| f64::from(x.abs()) <= cutoff * std;
        let again = |i: u64| (0..1000).map(|draw| self.child(i).child(draw).normal(1, std)[0]).find(within);
        let first = self.normal(n, std).into_iter().enumerate();
        first.map(|(i, x)| if within(&x) { x } else { again(i as u64).unwrap_or(0.0) }).collect()
    }

    /// A permutation of `0..n` (Fisher-Yates).
    pub fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64, i + 1));
        }
        order
    }

    /// The key as 32 bits, for [`hashes32`].
    pub fn low32(self) -> u32 {
        self.0 as u32
    }
}

fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Counters of [`hashes32`].
pub const COUNTERS: usize = 4096;

/// Each counter, mixed: half of the work of a hash, which is the same for all keys.
static MIXED: [u32; COUNTERS] = {
    let mut mixed = [0; COUNTERS];
    let mut counter = 0;
    while counter < COUNTERS {
        mixed[counter] = low_bias(counter as u32);
        counter += 1;
    }
    mixed
};

/// Uniform over `u32` for a 32-bit key and each of these counters below [`COUNTERS`]; branch-free, so loops vectorise.
#[inline(always)]
pub fn hashes32(key: u32, counters: Range<usize>) -> impl Iterator<Item = u32> {
    MIXED[counters].iter().map(move |mixed| low_bias(mixed.wrapping_add(key)))
}

#[inline(always)]
const fn low_bias(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_when_drawn_are_uniform_and_distinct_between_streams() {
        let (a, b) = (Key::new(7, Stream::Init), Key::new(7, Stream::Shuffle));
        let n = 20_000;
        let mean = (0..n).map(|i| a.uniform(i)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
        assert!((0..100).all(|i| a.uniform_u64(i) != b.uniform_u64(i)));
        let ones: u32 = hashes32(a.low32(), 0..COUNTERS).map(u32::count_ones).sum();
        assert!((f64::from(ones) / COUNTERS as f64 - 16.0).abs() < 0.15);
        assert_eq!(
            hashes32(a.low32(), 7..99).collect::<Vec<_>>(),
            hashes32(a.low32(), 0..99).skip(7).collect::<Vec<_>>()
        );
    }

    #[test]
    fn normal_when_drawn_has_the_moments() {
        let x = Key::new(1, Stream::Init).normal(50_001, 2.0);
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.04 && (var - 4.0).abs() < 0.1, "{mean} {var}");
    }

    #[test]
    fn permutation_when_drawn_holds_every_index_and_depends_on_the_key() {
        let key = Key::new(3, Stream::Shuffle);
        let p = key.permutation(101);
        let mut sorted = p.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..101).collect::<Vec<_>>());
        assert_ne!(p, key.child(1).permutation(101));
        assert!(key.permutation(0).is_empty() && key.permutation(1) == [0]);
    }
}
