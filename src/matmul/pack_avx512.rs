//! Packing with 512-bit vectors: 16 units are loaded and rounded at once, and 16 lines are transposed in registers.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_maskz_loadu_epi16, _mm512_castps_si512, _mm512_castsi256_si512, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_inserti64x4, _mm512_loadu_si512, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps,
    _mm512_permutex2var_epi32, _mm512_permutexvar_epi16, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

use half::bf16;

use super::matrix_view::MatrixView;
use super::number::Unit;
use super::panel::SPARE;
use crate::compute::{Elements, bf16_bits};

/// Lines or units per vector.
const LANES: usize = SPARE;

/// Packs panels `[units, width]` from the first line on, which begin `distance` units apart. The [`SPARE`] units after
/// a panel are overwritten too.
///
/// # Safety
///
/// The processor has AVX-512 F, BW, VL and, for pairs, BF16.
pub(super) unsafe fn pack_panels(lines: &MatrixView, unit: Unit, width: usize, distance: usize, panels: &mut [u32]) {
    // SAFETY: the caller promises that the processor has AVX-512 F, BW, VL and, for pairs, BF16.
    unsafe {
        match (lines.values, unit) {
            (Elements::F32(values), Unit::Bf16Pair) => pairs::pack_panels(values, lines, width, distance, panels),
            (Elements::F32(values), Unit::F32 | Unit::I8Quad) => {
                f32s::pack_panels(values, lines, width, distance, panels);
            }
            (Elements::F32(values), Unit::Bf16AsF32) => rounded::pack_panels(values, lines, width, distance, panels),
            (Elements::Bf16(values), Unit::Bf16Pair) => bf16s::pack_panels(values, lines, width, distance, panels),
            (Elements::Bf16(values), _) => widened::pack_panels(values, lines, width, distance, panels),
        }
    }
}

/// Mask of the lowest `n` of 16 lanes (all if `n` is larger).
fn mask(n: usize) -> u16 {
    if n >= LANES { u16::MAX } else { (1 << n) - 1 }
}

/// Mask of the lowest `n` of 32 lanes (all if `n` is larger).
fn mask32(n: usize) -> u32 {
    if n >= 2 * LANES { u32::MAX } else { (1 << n) - 1 }
}

macro_rules! packing {
    ($module:ident, $element:ty, $features:literal, $depth:literal, $along:item, $across:item) => {
        mod $module {
            use super::*;

            /// Loads 16 units along a line, from `values` values at `from`, zero-filled.
            #[inline]
            #[target_feature(enable = $features)]
            $along

            /// Loads one unit of each of the `count` lines at `from`; `left` values of depth remain, `stride` apart.
            #[inline]
            #[target_feature(enable = $features)]
            $across

            #[target_feature(enable = $features)]
            pub fn pack_panels(
                values: &[$element],
                lines: &MatrixView,
                width: usize,
                distance: usize,
                panels: &mut [u32],
            ) {
                let units = lines.depth.div_ceil($depth);
                assert!(distance >= units * width + SPARE && lines.is_within() && lines.values.len() == values.len());
                assert!(panels.len() / distance <= lines.count.div_ceil(width), "more panels than lines");
                if lines.depth_stride == 1 {
                    for (i, panel) in panels.chunks_exact_mut(distance).enumerate() {
                        let first = i * width;
                        let from = values.as_ptr().wrapping_add(first * lines.line_stride);
                        // SAFETY: the lines from `first` on exist.
                        unsafe { pack_rows(from, lines, width.min(lines.count - first), width, panel) };
                    }
                } else {
                    for unit in 0..units {
                        for (i, panel) in panels.chunks_exact_mut(distance).enumerate() {
                            let first = i * width;
                            let count = width.min(lines.count - first);
                            let from = first * lines.line_stride + unit * $depth * lines.depth_stride;
                            let from = values.as_ptr().wrapping_add(from);
                            let (left, panel) = (lines.depth - unit * $depth, &mut panel[unit * width..]);
                            // SAFETY: the lines from `first` on exist, each with the remaining depth from this unit on.
                            unsafe { pack_unit(from, lines, count, width, left, panel) };
                        }
                    }
                }
            }

            /// Packs one panel from the `count` lines at `from`, reading along the depth.
            ///
            /// # Safety
            ///
            /// There are `count` lines with the depth and strides of `lines`.
            #[target_feature(enable = $features)]
            unsafe fn pack_rows(from: *const $element, lines: &MatrixView, count: usize, width: usize, panel: &mut [u32]) {
                let units = lines.depth.div_ceil($depth);
                for unit in (0..units).step_by(LANES) {
                    let left = lines.depth - unit * $depth;
                    for group in (0..width).step_by(LANES) {
                        let mut block = [_mm512_setzero_si512(); LANES];
                        for (i, row) in block.iter_mut().enumerate().take(count.saturating_sub(group)) {
                            let line = from.wrapping_add((group + i) * lines.line_stride + unit * $depth);
                            // SAFETY: no more than `left` values are read.
                            *row = unsafe { along(line, left) };
                        }
                        for (i, row) in transpose(block).into_iter().enumerate().take(units - unit) {
                            let to = panel[(unit + i) * width + group..][..LANES].as_mut_ptr();
                            // SAFETY: the slice holds a whole vector.
                            unsafe { _mm512_storeu_si512(to.cast(), row) };
                        }
                    }
                }
            }

            /// Packs one unit of the `count` lines at `from`, reading across the depth, of which `left` values remain.
            ///
            /// # Safety
            ///
            /// There are `count` adjacent lines, with `left` values of depth at the depth stride of `lines`.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn pack_unit(
                from: *const $element,
                lines: &MatrixView,
                count: usize,
                width: usize,
                left: usize,
                panel: &mut [u32],
            ) {
                for group in (0..width).step_by(LANES) {
                    let lanes = count.saturating_sub(group);
                    // SAFETY: only existing lines and depths are read.
                    let row = unsafe { across(from.wrapping_add(group), lanes, left, lines.depth_stride) };
                    let to = panel[group..][..LANES].as_mut_ptr();
                    // SAFETY: the slice holds a whole vector.
                    unsafe { _mm512_storeu_si512(to.cast(), row) };
                }
            }
        }
    };
}

packing!(
    f32s,
    f32,
    "avx512f,avx512bw",
    1,
    unsafe fn along(from: *const f32, values: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        _mm512_castps_si512(unsafe { _mm512_maskz_loadu_ps(mask(values), from) })
    },
    unsafe fn across(from: *const f32, count: usize, _: usize, _: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        _mm512_castps_si512(unsafe { _mm512_maskz_loadu_ps(mask(count), from) })
    }
);

packing!(
    rounded,
    f32,
    "avx512f,avx512bw",
    1,
    unsafe fn along(from: *const f32, values: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        round(_mm512_castps_si512(unsafe { _mm512_maskz_loadu_ps(mask(values), from) }))
    },
    unsafe fn across(from: *const f32, count: usize, _: usize, _: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        round(_mm512_castps_si512(unsafe { _mm512_maskz_loadu_ps(mask(count), from) }))
    }
);

packing!(
    pairs,
    f32,
    "avx512f,avx512bw,avx512bf16",
    2,
    unsafe fn along(from: *const f32, values: usize) -> __m512i {
        // SAFETY: masked lanes are not read, and any 64 bytes are valid.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask(values), from);
            let high = _mm512_maskz_loadu_ps(mask(values.saturating_sub(LANES)), from.wrapping_add(LANES));
            std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
        }
    },
    unsafe fn across(from: *const f32, count: usize, left: usize, stride: usize) -> __m512i {
        // SAFETY: masked lanes are not read, the index array is a whole vector, and any 64 bytes are valid.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask(count), from);
            let high = _mm512_maskz_loadu_ps(if left > 1 { mask(count) } else { 0 }, from.wrapping_add(stride));
            let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_permutexvar_epi16(_mm512_loadu_si512(INTERLEAVE.as_ptr().cast()), halves)
        }
    }
);

packing!(
    bf16s,
    bf16,
    "avx512f,avx512bw,avx512vl",
    2,
    unsafe fn along(from: *const bf16, values: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        unsafe { _mm512_maskz_loadu_epi16(mask32(values), from.cast()) }
    },
    unsafe fn across(from: *const bf16, count: usize, left: usize, stride: usize) -> __m512i {
        // SAFETY: masked lanes are not read, the index array is a whole vector, and any 64 bytes are valid.
        unsafe {
            let low = _mm256_maskz_loadu_epi16(mask(count), from.cast());
            let high =
                _mm256_maskz_loadu_epi16(if left > 1 { mask(count) } else { 0 }, from.wrapping_add(stride).cast());
            let halves = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            _mm512_permutexvar_epi16(_mm512_loadu_si512(INTERLEAVE.as_ptr().cast()), halves)
        }
    }
);

packing!(
    widened,
    bf16,
    "avx512f,avx512bw,avx512vl",
    1,
    unsafe fn along(from: *const bf16, values: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        widen(unsafe { _mm256_maskz_loadu_epi16(mask(values), from.cast()) })
    },
    unsafe fn across(from: *const bf16, count: usize, _: usize, _: usize) -> __m512i {
        // SAFETY: masked lanes are not read.
        widen(unsafe { _mm256_maskz_loadu_epi16(mask(count), from.cast()) })
    }
);

/// Converts each bf16 to f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(halves: __m256i) -> __m512i {
    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))
}

/// Rounds each f32 lane to bf16, stored as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(lanes: __m512i) -> __m512i {
    // SAFETY: both types are 64 bytes, and any bytes are valid.
    let lanes: [f32; LANES] = unsafe { std::mem::transmute(lanes) };
    let rounded = lanes.map(|x| bf16_bits(x) << 16);
    // SAFETY: both types are 64 bytes, and any bytes are valid.
    unsafe { std::mem::transmute(rounded) }
}

/// Lane indices that interleave two halves: 16-bit lanes 0, 16, 1, 17, ..
const INTERLEAVE: [u16; 32] = {
    let mut index = [0; 32];
    let mut i = 0;
    while i < 32 {
        index[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    index
};

/// Lane indices for exchanging blocks of `step` lanes between two rows that are `step` apart: those of the new lower
/// row if `lower`, otherwise of the new upper row.
const fn exchange(step: usize, lower: bool) -> [u32; LANES] {
    let mut index = [0; LANES];
    let mut i = 0;
    while i < LANES {
        let moved = (i & step != 0) != lower;
        // Lanes from 16 on are those of the second row.
        index[i] = match (lower, moved) {
            (false, false) => i,
            (false, true) => LANES + (i ^ step),
            (true, false) => LANES + i,
            (true, true) => i ^ step,
        } as u32;
        i += 1;
    }
    index
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(mut rows: [__m512i; LANES]) -> [__m512i; LANES] {
    macro_rules! stage {
        ($step:literal) => {
            // SAFETY: the index array is a whole vector.
            let upper = unsafe { _mm512_loadu_si512(const { exchange($step, false) }.as_ptr().cast()) };
            // SAFETY: the index array is a whole vector.
            let lower = unsafe { _mm512_loadu_si512(const { exchange($step, true) }.as_ptr().cast()) };
            let mut i = 0;
            while i < LANES {
                if i & $step == 0 {
                    let (a, b) = (rows[i], rows[i + $step]);
                    rows[i] = _mm512_permutex2var_epi32(a, upper, b);
                    rows[i + $step] = _mm512_permutex2var_epi32(a, lower, b);
                }
                i += 1;
            }
        };
    }
    stage!(8);
    stage!(4);
    stage!(2);
    stage!(1);
    rows
}
