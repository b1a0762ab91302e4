//! Innermost loop: a tile of `C` from a panel of `A` and a panel of `B`, with a version for each kind of processor.

use super::number::Unit;
use super::panel::{COLUMNS, Panel, ROWS};
use crate::compute::simd::{Level, level};

/// A tile of `C`, row-major.
pub(super) type Tile = [[f32; COLUMNS]; ROWS];

/// Sums, over `units` units of depth, the products of `a` ([`ROWS`] lines) and `b` ([`COLUMNS`] lines with line stride
/// 1). Only the first `rows` rows of the tile are needed; the others may be computed too.
pub(super) fn multiply(unit: Unit, units: usize, a: Panel, b: Panel, rows: usize, tile: &mut Tile) {
    assert!(a.holds(units, ROWS) && b.holds(units, COLUMNS) && b.line_stride == 1, "a panel is too short");
    // SAFETY: the panels were checked to have this many units, of `ROWS` and of `COLUMNS` lines.
    unsafe {
        match rows {
            // With so few rows, loading `b` from memory is the bottleneck; skipped rows do not delay its loads.
            ..=4 => multiply_rows::<4>(unit, units, a, b, tile),
            _ => multiply_rows::<ROWS>(unit, units, a, b, tile),
        }
    }
}

/// Computes the first `R` rows of a tile.
///
/// # Safety
///
/// `a` holds `units` units of [`ROWS`] lines, and `b` as many of [`COLUMNS`] lines with a line stride of 1.
unsafe fn multiply_rows<const R: usize>(unit: Unit, units: usize, a: Panel, b: Panel, tile: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `level` detected these instructions on this processor, `Unit::of` and `Unit::int8` those of their
        // units; the caller promises `units` units of `ROWS` and of `COLUMNS` lines.
        match (unit, level()) {
            (Unit::I8Quad, _) => return unsafe { avx512::int8::<R>(units, a, b, tile) },
            (Unit::Bf16Pair, _) if a.line_stride > 1 => {
                return unsafe { avx512::bf16_of_rows::<R>(units, a, b, tile) };
            }
            (Unit::Bf16Pair, _) => return unsafe { avx512::bf16::<R>(units, a, b, tile) },
            (_, Level::Avx512 | Level::Avx512Bf16) if a.line_stride > 1 => {
                return unsafe { avx512::f32_of_rows::<R>(units, a, b, tile) };
            }
            (_, Level::Avx512 | Level::Avx512Bf16) => return unsafe { avx512::f32::<R>(units, a, b, tile) },
            (_, Level::Avx2) => return unsafe { avx2(units, a, b, tile) },
            (_, Level::Baseline) => {}
        }
    }
    // SAFETY: the caller promises `units` units of `ROWS` and of `COLUMNS` lines, those of `b` contiguous.
    unsafe { portable::<4, 8>(units, a, b, tile, |a, b, sum| sum + a * b) };
}

/// # Safety
///
/// Same as [`multiply_rows`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
// A closure is compiled with this function's instructions; passing the method by name would call the library's version.
#[allow(clippy::redundant_closure_for_method_calls)]
unsafe fn avx2(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
    // SAFETY: the caller promises `units` units of `ROWS` and of `COLUMNS` lines, those of `b` contiguous.
    unsafe { portable::<5, 16>(units, a, b, tile, |a, b, sum| a.mul_add(b, sum)) };
}

/// Computes the tile in pieces of `R` rows and `C` columns, whose sums fit the registers.
///
/// # Safety
///
/// Same as [`multiply_rows`].
#[inline(always)]
unsafe fn portable<const R: usize, const C: usize>(
    units: usize,
    a: Panel,
    b: Panel,
    tile: &mut Tile,
    fma: impl Fn(f32, f32, f32) -> f32,
) {
    for row in (0..ROWS).step_by(R) {
        for column in (0..COLUMNS).step_by(C) {
            let mut sums = [[0f32; C]; R];
            for unit in 0..units {
                // The last piece may begin before `row`, so that it lies within the tile.
                let first = row.min(ROWS - R);
                // SAFETY: `b` holds this unit of `COLUMNS` lines, and `C` divides `COLUMNS`.
                let b = unsafe { b.units.get_unchecked(unit * b.stride + column..).get_unchecked(..C) };
                for (i, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: `a` holds this unit of `ROWS` lines, and `first + i` is below `ROWS`.
                    let line = unsafe { *a.units.get_unchecked(unit * a.stride + (first + i) * a.line_stride) };
                    let line = f32::from_bits(line);
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = fma(line, f32::from_bits(*b), *sum);
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

    use super::{Panel, Tile};

    /// Applies `$product(sum, a, b)` to each pair of vectors, for all units.
    macro_rules! tile {
        ($units:expr, $a:expr, $b:expr, $zero:expr, $load:expr, $set:expr, $product:expr) => {{
            let mut sums = [[$zero; 2]; R];
            let (mut a, mut b) = ($a.units.as_ptr(), $b.units.as_ptr());
            for _ in 0..$units {
                // SAFETY: the caller promises all units, each of `R` lines and of two vectors.
                let (lines, vectors) = unsafe { (&*a.cast::<[u32; R]>(), [$load(b.cast()), $load(b.add(16).cast())]) };
                for (sums, line) in sums.iter_mut().zip(lines) {
                    let line = $set(*line);
                    sums[0] = $product(sums[0], line, vectors[0]);
                    sums[1] = $product(sums[1], line, vectors[1]);
                }
                (a, b) = (a.wrapping_add($a.stride), b.wrapping_add($b.stride));
            }
            sums
        }};
    }

    /// Like `tile`, for rows of `A` read in place, each at its own address.
    macro_rules! tile_of_rows {
        ($units:expr, $a:expr, $b:expr, $zero:expr, $load:expr, $set:expr, $product:expr) => {{
            let rows: [*const u32; R] = std::array::from_fn(|i| $a.units.as_ptr().wrapping_add(i * $a.line_stride));
            let mut b = $b.units.as_ptr();
            let mut sums = [[$zero; 2]; R];
            for unit in 0..$units {
                // SAFETY: the caller promises all units, each of two vectors.
                let vectors = unsafe { [$load(b.cast()), $load(b.add(16).cast())] };
                for (sums, row) in sums.iter_mut().zip(rows) {
                    // SAFETY: the caller promises all units of each of `R` rows.
                    let line = $set(unsafe { *row.add(unit) });
                    sums[0] = $product(sums[0], line, vectors[0]);
                    sums[1] = $product(sums[1], line, vectors[1]);
                }
                b = b.wrapping_add($b.stride);
            }
            sums
        }};
    }

    /// Instantiates one of the two macros with f32 products.
    macro_rules! of_f32 {
        ($tile:ident, $units:expr, $a:expr, $b:expr) => {
            $tile!(
                $units,
                $a,
                $b,
                _mm512_setzero_ps(),
                |from| _mm512_loadu_ps(from),
                |a| _mm512_set1_ps(f32::from_bits(a)),
                |sum, a, b| _mm512_fmadd_ps(a, b, sum)
            )
        };
    }

    /// Instantiates one of the two macros with products of bf16 pairs.
    macro_rules! of_bf16 {
        ($tile:ident, $units:expr, $a:expr, $b:expr) => {
            $tile!(
                $units,
                $a,
                $b,
                _mm512_setzero_ps(),
                |from| pairs(_mm512_loadu_si512(from)),
                |a| pairs(_mm512_set1_epi32(a as i32)),
                |sum, a, b| _mm512_dpbf16_ps(sum, a, b)
            )
        };
    }

    /// # Safety
    ///
    /// Same as `multiply_rows`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn f32<const R: usize>(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
        store(&of_f32!(tile, units, a, b), tile);
    }

    /// Like [`f32`], for rows of `A` read in place.
    ///
    /// # Safety
    ///
    /// Same as `multiply_rows`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn f32_of_rows<const R: usize>(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
        store(&of_f32!(tile_of_rows, units, a, b), tile);
    }

    /// # Safety
    ///
    /// Same as `multiply_rows`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn bf16<const R: usize>(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
        store(&of_bf16!(tile, units, a, b), tile);
    }

    /// Like [`bf16`], for rows of `A` read in place.
    ///
    /// # Safety
    ///
    /// Same as `multiply_rows`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn bf16_of_rows<const R: usize>(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
        store(&of_bf16!(tile_of_rows, units, a, b), tile);
    }

    /// # Safety
    ///
    /// Same as `multiply_rows`.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub unsafe fn int8<const R: usize>(units: usize, a: Panel, b: Panel, tile: &mut Tile) {
        let sums = tile!(
            units,
            a,
            b,
            _mm512_setzero_si512(),
            |from| _mm512_loadu_si512(from),
            |a| _mm512_set1_epi32(a as i32),
            |sum, a, b| _mm512_dpbusd_epi32(sum, a, b)
        );
        let mut rounded = [[_mm512_setzero_ps(); 2]; R];
        for (rounded, sums) in rounded.iter_mut().zip(sums) {
            *rounded = [_mm512_cvtepi32_ps(sums[0]), _mm512_cvtepi32_ps(sums[1])];
        }
        store(&rounded, tile);
    }

    fn pairs(bits: __m512i) -> __m512bh {
        // SAFETY: both types are 512 bits, and any bits are valid.
        unsafe { std::mem::transmute(bits) }
    }

    #[target_feature(enable = "avx512f")]
    fn store<const R: usize>(sums: &[[__m512; 2]; R], tile: &mut Tile) {
        for (row, sums) in tile.iter_mut().zip(sums) {
            // SAFETY: a row holds two vectors.
            unsafe {
                _mm512_storeu_ps(row.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(row.as_mut_ptr().add(16), sums[1]);
            }
        }
    }
}
