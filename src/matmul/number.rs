//! Number formats that operands are rounded to, and their layout in a 32-bit unit.

use serde::{Deserialize, Serialize};

use crate::compute::StorageDtype;
use crate::compute::simd::{Level, level};
use crate::error::{Error, Result};

/// Precision of a product's operands; sums are always f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// bfloat16: the upper half of an f32, rounded to nearest even.
    Bf16,
    /// int8 for products with frozen weights, bf16 for others. For inference only.
    Int8,
}

impl Precision {
    /// Parses f32, bf16, int8, or auto, which is bf16 if the processor multiplies bf16, otherwise f32.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "auto" if Unit::of(Self::Bf16).depth() > 1 => Ok(Self::Bf16),
            "auto" | "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err(Error::Value(format!("precision={name:?}: expected \"auto\", \"f32\", \"bf16\" or \"int8\""))),
        }
    }
}

/// Precision of an operation's products, and the dtype of its result and of what it saves for the backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub precision: Precision,
    pub result: StorageDtype,
}

impl From<Precision> for Format {
    /// Results in f32.
    fn from(precision: Precision) -> Self {
        Self { precision, result: StorageDtype::F32 }
    }
}

impl Precision {
    /// Bytes per value in a packed operand.
    pub fn bytes(self) -> usize {
        4 / Unit::of(self).depth()
    }
}

impl TryFrom<String> for Precision {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::parse(&name)
    }
}

/// Content of one 32-bit unit of a packed operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// One f32.
    F32,
    /// One bf16 stored as f32, for processors that cannot multiply bf16.
    Bf16AsF32,
    /// Two bf16 values, consecutive in depth.
    Bf16Pair,
    /// Four int8 values, consecutive in depth, given as the bits of an f32; those of `A` are shifted by 128 and
    /// unsigned.
    I8Quad,
}

impl Unit {
    /// The unit that this processor uses for `precision`.
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16 | Precision::Int8 if level() >= Level::Avx512Bf16 => Self::Bf16Pair,
            Precision::Bf16 | Precision::Int8 => Self::Bf16AsF32,
        }
    }

    /// The unit that this processor uses for int8.
    pub fn int8() -> Self {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => Self::I8Quad,
            _ => Self::F32,
        }
    }

    /// Number of values packed into a unit.
    pub fn depth(self) -> usize {
        match self {
            Self::F32 | Self::Bf16AsF32 | Self::I8Quad => 1,
            Self::Bf16Pair => 2,
        }
    }
}
