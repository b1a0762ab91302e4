//! Buckets of relative distances: the row of a learnt table for each distance.
//!
//! Both are computed in f32 and in the operation order of the reference implementations (transformers 5.24), because
//! rounding decides the borders of buckets.

/// Buckets of biases (T5, Raffel et al. 2020): half of them for keys before the query, half for those after it. The
/// first half of each has one bucket per distance, the rest cover logarithmically longer ranges up to `farthest`.
#[derive(Debug, Clone, Copy)]
pub struct BiasBuckets {
    /// Rows of the table.
    pub rows: usize,
    /// Number of buckets.
    pub buckets: usize,
    /// Distances from this on share the last bucket of their half.
    pub farthest: usize,
}

impl BiasBuckets {
    /// The row of the distance `i - j` from query to key.
    pub fn row(&self, distance: i64) -> u32 {
        let half = self.buckets / 2;
        let ahead = if distance < 0 { half } else { 0 };
        let (away, exact) = (distance.unsigned_abs() as usize, half / 2);
        let row = if away < exact {
            away
        } else {
            let ratio = (away as f32 / exact as f32).ln() / (self.farthest as f64 / exact as f64).ln() as f32;
            (exact + (ratio * (half - exact) as f32) as usize).min(half - 1)
        };
        (ahead + row) as u32
    }
}

/// Buckets of vectors (DeBERTa, He et al. 2021): distance 0 has the middle row, keys before the query the rows after
/// it.
#[derive(Debug, Clone, Copy)]
pub struct VectorBuckets {
    /// Rows of each direction: the table has twice as many.
    pub span: usize,
    /// Distances beyond half of the span share rows in logarithmic ranges up to this one; None: one row each.
    pub farthest: Option<usize>,
}

impl VectorBuckets {
    /// The row of the distance `i - j` from query to key.
    pub fn row(&self, distance: i64) -> u32 {
        let span = self.span as i64;
        (self.bucket(distance) + span).clamp(0, 2 * span - 1) as u32
    }

    fn bucket(&self, distance: i64) -> i64 {
        let middle = (self.span / 2) as i64;
        let Some(farthest) = self.farthest.filter(|_| distance.abs() > middle) else { return distance };
        let base = ((farthest as f64 - 1.0) / middle as f64) as f32;
        let ratio = (distance.abs() as f32 / middle as f32).ln() / base.ln();
        let bucket = (ratio * (middle - 1) as f32).ceil() as i64 + middle;
        bucket * distance.signum()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;

    use super::*;

    /// `buckets.safetensors` (tests/reference/make_buckets.py), transformers 5.24.0.
    #[test]
    fn rows_of_distances_are_those_of_transformers() -> candle_core::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/buckets.safetensors");
        for (name, rows) in candle_core::safetensors::load(path, &Device::Cpu)? {
            let expected = rows.to_vec1::<i64>()?;
            let row: Box<dyn Fn(i64) -> u32> = match name.split('.').collect::<Vec<_>>()[..] {
                ["deberta_v2", buckets, longest] => {
                    let longest = longest.parse().unwrap_or(0);
                    let buckets = match buckets.parse() {
                        Ok(span) => VectorBuckets { span, farthest: Some(longest) },
                        Err(_) => VectorBuckets { span: longest, farthest: None },
                    };
                    Box::new(move |distance| buckets.row(distance))
                }
                _ => Box::new(|distance| BiasBuckets { rows: 32, buckets: 32, farthest: 128 }.row(distance)),
            };
            let reach = expected.len() as i64 / 2;
            let got: Vec<i64> = (-reach..=reach).map(|distance| i64::from(row(distance))).collect();
            assert_eq!(got, expected, "{name}");
        }
        Ok(())
    }
}
