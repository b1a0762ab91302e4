//! Check for NaN and infinite values.

use rayon::prelude::*;

use super::math;
use super::parallel::{CHUNK, in_pool};
use super::simd::vectorised;

/// True if every value is finite. One pass, in parallel if there are many values.
pub fn all_finite(values: &[f32]) -> bool {
    if values.len() <= CHUNK {
        return is_finite(values);
    }
    in_pool(|| values.par_chunks(CHUNK).all(is_finite))
}

vectorised! {
    /// Zero times a value is zero, unless that is NaN or infinite.
    fn is_finite(values: &[f32]) -> bool {
        math::sum(values, |x| x * 0.0) == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_finite_when_one_value_is_not_tells() {
        let mut values = vec![f32::MAX; 2 * CHUNK + 3];
        values[1] = -f32::MIN_POSITIVE / 2.0;
        assert!(all_finite(&values) && all_finite(&[]));
        for at in [0, 7, CHUNK, 2 * CHUNK + 2] {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let before = std::mem::replace(&mut values[at], wrong);
                assert!(!all_finite(&values), "{wrong} at {at}");
                values[at] = before;
            }
        }
    }
}
