//! De-quantises blocks of GGUF tensors to f32, by candle's formulas.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::k_quants::{BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8_0, GgmlType};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::reader::Checked;
use crate::error::{Error, Result};

/// The supported tensor types, by their number in the file.
const KINDS: [(u32, GgmlDType, &str); 9] = [
    (0, GgmlDType::F32, "F32"),
    (1, GgmlDType::F16, "F16"),
    (2, GgmlDType::Q4_0, "Q4_0"),
    (3, GgmlDType::Q4_1, "Q4_1"),
    (8, GgmlDType::Q8_0, "Q8_0"),
    (12, GgmlDType::Q4K, "Q4_K"),
    (13, GgmlDType::Q5K, "Q5_K"),
    (14, GgmlDType::Q6K, "Q6_K"),
    (30, GgmlDType::BF16, "BF16"),
];

/// The tensor type with this number; an unsupported number is an error.
pub(super) fn kind(number: u32) -> Checked<GgmlDType> {
    KINDS.iter().find(|(n, ..)| *n == number).map(|(_, kind, _)| *kind).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|(.., name)| *name).collect();
        format!("has the type number {number}; supported: {}", names.join(", "))
    })
}

/// De-quantises `bytes`, whole blocks of `kind`, into `out`, which must have exactly as many values.
pub(super) fn decode(kind: GgmlDType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    match kind {
        GgmlDType::F32 => {
            let (values, _) = bytes.as_chunks();
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = f32::from_le_bytes(value));
            Ok(())
        }
        GgmlDType::F16 => halves(bytes, |bits| bits.reinterpret_cast::<half::f16>().convert_to_f32_slice(out)),
        GgmlDType::BF16 => halves(bytes, |bits| bits.reinterpret_cast::<half::bf16>().convert_to_f32_slice(out)),
        GgmlDType::Q4_0 => blocks::<BlockQ4_0>(bytes, out),
        GgmlDType::Q4_1 => blocks::<BlockQ4_1>(bytes, out),
        GgmlDType::Q8_0 => blocks::<BlockQ8_0>(bytes, out),
        GgmlDType::Q4K => blocks::<BlockQ4K>(bytes, out),
        GgmlDType::Q5K => blocks::<BlockQ5K>(bytes, out),
        GgmlDType::Q6K => blocks::<BlockQ6K>(bytes, out),
        other => Err(Error::internal(format!("no GGUF tensor has {other:?}"))),
    }
}

fn halves(bytes: &[u8], convert: impl FnOnce(&[u16])) -> Result<()> {
    // SAFETY: every bit pattern is a u16.
    convert(whole(unsafe { bytes.align_to() })?);
    Ok(())
}

fn blocks<B: GgmlType>(bytes: &[u8], out: &mut [f32]) -> Result<()> {
    // SAFETY: candle's blocks are `repr(C)` fields of f16, i8 and u8, so every bit pattern is a valid block.
    let blocks = whole::<B>(unsafe { bytes.align_to() })?;
    if blocks.len() * B::BLCK_SIZE != out.len() {
        return Err(Error::internal(format!("{} blocks for {} values", blocks.len(), out.len())));
    }
    B::to_float(blocks, out);
    Ok(())
}

/// The middle of an `align_to`; an error unless it covers all bytes. Tensors begin at multiples of 8, so it does.
fn whole<'a, T>((before, middle, after): (&[u8], &'a [T], &[u8])) -> Result<&'a [T]> {
    match (before, after) {
        ([], []) => Ok(middle),
        _ => Err(Error::internal("GGUF blocks are not aligned")),
    }
}
