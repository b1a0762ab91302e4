//! Fingerprints of weights and of lists of numbers.

use rayon::prelude::*;

use super::parameters::Parameters;
use crate::array::Array;
use crate::compute::in_pool;
use crate::error::Result;
use crate::rng::{Key, Stream};

/// Fingerprint of all parameters, names and values: equal for equal weights, and different for different ones except
/// with probability 2^-64.
pub fn fingerprint(params: &Parameters) -> Result<String> {
    let all: Vec<(&str, &Array)> = params.iter().collect();
    let of_one = |(name, array): &(&str, &Array)| -> Result<u64> {
        let named = name.bytes().fold(0, |hash, byte| mixed(hash, byte.into()));
        Ok(array.values()?.iter().fold(named, |hash, value| mixed(hash, value.to_bits())))
    };
    let each = in_pool(|| all.par_iter().map(of_one).collect::<Result<Vec<u64>>>())?;
    Ok(joined(each))
}

/// Fingerprint of lists of numbers, in their order.
pub fn fingerprint_of<'a>(lists: impl Iterator<Item = &'a [u32]>) -> String {
    joined(lists.map(|list| list.iter().fold(list.len() as u64, |hash, word| mixed(hash, *word))))
}

fn mixed(hash: u64, word: u32) -> u64 {
    (hash ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn joined(each: impl IntoIterator<Item = u64>) -> String {
    let whole = each.into_iter().fold(Key::new(0, Stream::Init), Key::child);
    format!("{:016x}", whole.uniform_u64(0))
}
