//! Products with int8 operands, for frozen weights: `C = A W^T`, where each row of `A` and of `W` is scaled to [-127,
//! 127] by its own largest absolute value and rounded to nearest. Sums are exact if the processor has VNNI, otherwise
//! f32.
//!
//! VNNI multiplies unsigned by signed integers, so rows of `A` are shifted by 128, and the contribution of the shift is
//! subtracted again.

use rayon::prelude::*;

use super::matrix_view::MatrixView;
use super::number::Unit;
use super::output::Output;
use super::rhs::Packed;
use super::tasks::matmul;
use crate::compute::math;
use crate::compute::simd::vectorised;

const LARGEST: f32 = 127.0;
const SHIFT: f32 = 128.0;
/// Adding this to an f32 leaves the nearest integer in its low bits.
const ROUND: f32 = 12_582_912.0;

/// A weight `W [n, k]`, quantised and packed once.
pub struct Int8Weight {
    packed: Packed,
    /// Scale of each row of `W`.
    scales: Vec<f32>,
    /// Contribution of the shift of `A` to each column of the product, before scaling.
    surplus: Vec<f32>,
    depth: usize,
}

impl Int8Weight {
    /// Quantises and packs a row-major `weight [n, k]`.
    pub(crate) fn new(weight: &[f32], n: usize, k: usize) -> Self {
        let unit = Unit::int8();
        let (rows, scales) = quantise(weight, k, unit, 0.0);
        let columns = row_units(k, unit);
        let surplus = match unit {
            Unit::I8Quad => (0..n).map(|i| SHIFT * sum_of_bytes(&rows[i * columns..][..columns])).collect(),
            _ => vec![0.0; n],
        };
        let packed = Packed::with_unit(MatrixView::rows(&rows, n, columns), unit, Vec::new());
        Self { packed, scales, surplus, depth: k }
    }

    /// Computes `C = A W^T` for row-major `a [m, k]`, with `finish` as in [`product`]. If k is 0, m is unknown and
    /// nothing is written.
    pub(crate) fn product(&self, a: &[f32], out: Output, finish: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let unit = self.packed.0.unit;
        let m = a.len() / self.depth.max(1);
        let (rows, scales) = quantise(a, self.depth, unit, SHIFT);
        let lines = MatrixView::rows(&rows, m, row_units(self.depth, unit));
        matmul(lines, self.packed.whole(), out, |row, column, values| {
            let at = column..column + values.len();
            rescale(values, scales[row], &self.scales[at.clone()], &self.surplus[at]);
            finish(row, column, values);
        });
    }
}

/// Number of units per row.
fn row_units(k: usize, unit: Unit) -> usize {
    if unit == Unit::I8Quad { k.div_ceil(4) } else { k }
}

/// Divides each row of `values [_, k]` by its scale, rounds it and, for byte units, shifts it. Returns units and
/// scales.
fn quantise(values: &[f32], k: usize, unit: Unit, shift: f32) -> (Vec<f32>, Vec<f32>) {
    let (k, units) = (k.max(1), row_units(k, unit).max(1));
    let mut rows = vec![0f32; values.len() / k * units];
    let scales = rows.par_chunks_exact_mut(units).zip(values.par_chunks_exact(k)).map(|(out, row)| {
        let scale = largest(row) / LARGEST;
        // Rows so small that the inverse overflows become zero.
        let inverse = Some(1.0 / scale).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
        if unit == Unit::I8Quad {
            to_bytes(row, inverse, shift, out);
        } else {
            to_integers(row, inverse, out);
        }
        scale
    });
    let scales = scales.collect();
    (rows, scales)
}

vectorised! {
    /// Largest absolute value; NaN if any value is not finite.
    fn largest(row: &[f32]) -> f32 {
        math::max(row, f32::abs) + math::sum(row, |x| x * 0.0)
    }
}

vectorised! {
    /// Packs four bytes into each unit. Bytes after the row's end stay zero in both operands.
    fn to_bytes(row: &[f32], inverse: f32, shift: f32, out: &mut [f32]) {
        // SAFETY: an f32 is four bytes, and any bytes are valid.
        let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u8>(), out.len() * 4) };
        for (o, x) in out.iter_mut().zip(row) {
            *o = x.mul_add(inverse, ROUND + shift).to_bits() as u8;
        }
    }
}

vectorised! {
    fn to_integers(row: &[f32], inverse: f32, out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(row) {
            *o = (x * inverse).round_ties_even();
        }
    }
}

fn sum_of_bytes(units: &[f32]) -> f32 {
    units.iter().flat_map(|unit| unit.to_ne_bytes()).map(|byte| i32::from(byte as i8)).sum::<i32>() as f32
}

vectorised! {
    fn rescale(values: &mut [f32], row: f32, columns: &[f32], surplus: &[f32]) {
        for ((v, c), s) in values.iter_mut().zip(columns).zip(surplus) {
            *v = (*v - s) * row * c;
        }
    }
}
