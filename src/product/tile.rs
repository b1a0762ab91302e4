//! The innermost loop: a tile of `C` from a panel of `A` and a panel of `B`, once for each kind of processor.

use super::number::Unit;
use super::pack::{COLUMNS, ROWS};
use crate::compute::simd::{Level, level};

/// A tile of `C`, row-major.
pub(super) type Tile = [[f32; COLUMNS]; ROWS];

/// The sum over depth of the products of `a [units, ROWS]` and `b [units, COLUMNS]`, of which `rows` are wanted. What is not
/// wanted may be computed too.
pub(super) fn multiply(unit: Unit, a: &[u32], b: &[u32], rows: usize, tile: &mut Tile) {
    debug_assert!(a.len() / ROWS == b.len() / COLUMNS && rows <= ROWS);
    match rows {
        // So few that `b` comes from memory: what is not computed does not delay its loads.
        ..=4 => multiply_rows::<4>(unit, a, b, tile),
        _ => multiply_rows::<ROWS>(unit, a, b, tile),
    }
}

/// The first `R` rows of a tile.
fn multiply_rows<const R: usize>(unit: Unit, a: &[u32], b: &[u32], tile: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `level` found these instructions on this processor.
        match (unit, level()) {
            (Unit::I8Quad, _) => return unsafe { avx512::int8::<R>(a, b, tile) },
            (Unit::Bf16Pair, _) => return unsafe { avx512::bf16::<R>(a, b, tile) },
            (_, Level::Avx512 | Level::Avx512Bf16) => return unsafe { avx512::f32::<R>(a, b, tile) },
            (_, Level::Avx2) => return unsafe { avx2(a, b, tile) },
            (_, Level::Baseline) => {}
        }
    }
    portable::<4, 8>(a, b, tile, |a, b, sum| sum + a * b);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
// A closure has this function's instructions; the method by its name would be a call of the library's.
#[allow(clippy::redundant_closure_for_method_calls)]
fn avx2(a: &[u32], b: &[u32], tile: &mut Tile) {
    portable::<5, 16>(a, b, tile, |a, b, sum| a.mul_add(b, sum));
}

/// In pieces of `R` rows and `C` columns, so many that their sums fit the registers.
#[inline(always)]
fn portable<const R: usize, const C: usize>(a: &[u32], b: &[u32], tile: &mut Tile, fma: impl Fn(f32, f32, f32) -> f32) {
    for row in (0..ROWS).step_by(R) {
        for column in (0..COLUMNS).step_by(C) {
            let mut sums = [[0f32; C]; R];
            for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
                // The last piece may begin before `row`: it must lie within the tile.
                let a = &a[row.min(ROWS - R)..][..R];
                let b = &b[column..][..C];
                for (sums, a) in sums.iter_mut().zip(a) {
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = fma(f32::from_bits(*a), f32::from_bits(*b), *sum);
                    }
                }
            }
            for (tile, sums) in tile[row.min(ROWS - R)..].iter_mut().zip(&sums) {
                tile[column..][..C].copy_from_slice(sums);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_cvtepi32_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_setzero_si512, _mm512_storeu_ps,
    };

    use super::{COLUMNS, ROWS, Tile};

    #[target_feature(enable = "avx512f")]
    pub fn f32<const R: usize>(a: &[u32], b: &[u32], tile: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: `b` holds two vectors.
            let b = unsafe { [_mm512_loadu_ps(b.as_ptr().cast()), _mm512_loadu_ps(b.as_ptr().add(16).cast())] };
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm512_set1_ps(f32::from_bits(*a));
                sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
            }
        }
        store(&sums, tile);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn bf16<const R: usize>(a: &[u32], b: &[u32], tile: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: `b` holds two vectors.
            let b = unsafe { [_mm512_loadu_si512(b.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().add(16).cast())] };
            let b = b.map(pairs);
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = pairs(_mm512_set1_epi32(*a as i32));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
            }
        }
        store(&sums, tile);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn int8<const R: usize>(a: &[u32], b: &[u32], tile: &mut Tile) {
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: `b` holds two vectors.
            let b = unsafe { [_mm512_loadu_si512(b.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().add(16).cast())] };
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm512_set1_epi32(*a as i32);
                sums[0] = _mm512_dpbusd_epi32(sums[0], a, b[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], a, b[1]);
            }
        }
        let mut rounded = [[_mm512_setzero_ps(); 2]; R];
        for (rounded, sums) in rounded.iter_mut().zip(sums) {
            *rounded = [_mm512_cvtepi32_ps(sums[0]), _mm512_cvtepi32_ps(sums[1])];
        }
        store(&rounded, tile);
    }

    fn pairs(bits: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits without an invalid pattern.
        unsafe { std::mem::transmute(bits) }
    }

    #[target_feature(enable = "avx512f")]
    fn store(sums: &[[__m512; 2]], tile: &mut Tile) {
        for (row, sums) in tile.iter_mut().zip(sums) {
            // SAFETY: a row holds two vectors.
            unsafe {
                _mm512_storeu_ps(row.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(row.as_mut_ptr().add(16), sums[1]);
            }
        }
    }
}
