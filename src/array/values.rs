//! Borrowed values of an array.

use std::ops::{Deref, Range};
use std::sync::RwLockReadGuard;

use half::bf16;

use crate::compute::Elements;

/// The values of an f32 array, row-major; dereferences to a slice.
pub struct Values<'a>(Source<'a>);

enum Source<'a> {
    Slice(&'a [f32]),
    /// The lock keeps the values from changing while they are read.
    Locked(RwLockReadGuard<'a, Vec<f32>>, Range<usize>),
}

impl<'a> Values<'a> {
    pub(super) fn of(values: &'a [f32]) -> Self {
        Self(Source::Slice(values))
    }

    pub(super) fn locked(values: RwLockReadGuard<'a, Vec<f32>>, range: Range<usize>) -> Self {
        Self(Source::Locked(values, range))
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Source::Slice(values) => values,
            Source::Locked(values, range) => &values[range.clone()],
        }
    }
}

impl<'a> From<&'a Values<'_>> for Elements<'a> {
    fn from(values: &'a Values<'_>) -> Self {
        Self::F32(values)
    }
}

/// The values of an array of f32 or bf16.
pub(crate) enum Operand<'a> {
    F32(Values<'a>),
    Bf16(&'a [bf16]),
}

impl Operand<'_> {
    pub fn elements(&self) -> Elements<'_> {
        match self {
            Self::F32(values) => Elements::F32(values),
            Self::Bf16(values) => Elements::Bf16(values),
        }
    }
}

impl<'a> From<&'a Operand<'_>> for Elements<'a> {
    fn from(operand: &'a Operand<'_>) -> Self {
        operand.elements()
    }
}
