//! Values stored as bfloat16: half the memory, and all the precision that a bf16 product uses.

use half::bf16;

use super::parallel::SharedSlice;
use super::simd::vectorised;
use super::uninit::uninit;

/// The dtype in which values are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StorageDtype {
    #[default]
    F32,
    Bf16,
}

/// A slice of values, f32 or bf16.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Elements<'_> {
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// The values in a range.
    pub fn range(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }

    /// The value at `i`.
    #[inline(always)]
    pub fn at(self, i: usize) -> f32 {
        match self {
            Self::F32(values) => values[i],
            Self::Bf16(values) => values[i].to_f32(),
        }
    }

    /// Copy the values to `out`, widened to f32.
    pub fn copy_to(self, out: &mut [f32]) {
        match self {
            Self::F32(values) => out.copy_from_slice(values),
            Self::Bf16(values) => widen(values, out),
        }
    }

    /// Call `f(start, values)` for consecutive pieces, widened to f32.
    #[inline(always)]
    pub fn for_pieces(self, mut f: impl FnMut(usize, &[f32])) {
        const PIECE: usize = 256;
        match self {
            Self::F32(values) => f(0, values),
            Self::Bf16(values) => {
                let mut wide = [0f32; PIECE];
                for (i, piece) in values.chunks(PIECE).enumerate() {
                    let wide = &mut wide[..piece.len()];
                    widen(piece, wide);
                    f(i * PIECE, wide);
                }
            }
        }
    }
}

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for Elements<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self::F32(values)
    }
}

/// Owned values, f32 or bf16.
pub(crate) enum Buffer {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Buffer {
    /// A buffer of `len` uninitialised values.
    ///
    /// # Safety
    ///
    /// The caller writes every value before any is read.
    pub unsafe fn uninit(dtype: StorageDtype, len: usize) -> Self {
        // SAFETY: the caller writes every value before any is read.
        unsafe {
            match dtype {
                StorageDtype::F32 => Self::F32(uninit(len)),
                StorageDtype::Bf16 => Self::Bf16(uninit(len)),
            }
        }
    }

    pub fn elements(&self) -> Elements<'_> {
        match self {
            Self::F32(values) => Elements::F32(values),
            Self::Bf16(values) => Elements::Bf16(values),
        }
    }

    pub fn shared(&mut self) -> SharedBuffer<'_> {
        match self {
            Self::F32(values) => SharedBuffer::F32(SharedSlice::new(values)),
            Self::Bf16(values) => SharedBuffer::Bf16(SharedSlice::new(values)),
        }
    }
}

/// A [`Buffer`] shared between tasks.
#[derive(Clone, Copy)]
pub(crate) enum SharedBuffer<'a> {
    F32(SharedSlice<'a>),
    Bf16(SharedSlice<'a, bf16>),
}

impl SharedBuffer<'_> {
    /// Overwrite the values from `start` on.
    ///
    /// # Safety
    ///
    /// Nobody else touches these values meanwhile.
    pub unsafe fn copy_from(self, start: usize, values: &[f32]) {
        match self {
            // SAFETY: the caller promises that nobody else touches these values.
            Self::F32(shared) => unsafe { shared.copy_from(start, values) },
            Self::Bf16(shared) => {
                // SAFETY: the caller promises that nobody else touches these values.
                narrow(values, unsafe { shared.range(start, values.len()) });
            }
        }
    }
}

vectorised! {
    /// Round to the nearest bf16, ties to even.
    fn narrow(values: &[f32], out: &mut [bf16]) {
        for (out, x) in out.iter_mut().zip(values) {
            *out = bf16::from_bits(bf16_bits(*x) as u16);
        }
    }
}

vectorised! {
    fn widen(values: &[bf16], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(values) {
            *out = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

/// The bits of the bf16 nearest to `x`; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { 0x7fc0 } else { rounded }
}
