//! The header of a GGUF file: metadata, then the position of each tensor. Every size is checked against the file's
//! length before memory is allocated for it.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::quantized::GgmlDType;

use super::blocks;
use super::metadata::Metadata;
use super::reader::{Checked, Reader};

/// Default alignment of tensors in bytes, if the file gives none.
const ALIGNMENT: u64 = 32;
const MAX_DIMENSIONS: u32 = 4;

/// A tensor as the header describes it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub kind: GgmlDType,
    /// Row-major: the last dimension is contiguous.
    pub shape: Vec<usize>,
    /// Byte range in the file.
    pub bytes: Range<usize>,
}

/// Metadata, and tensors by their GGUF name.
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, Stored>,
}

impl Header {
    pub fn parse(bytes: &[u8]) -> Checked<Self> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.array()? != *b"GGUF" {
            return Err("is not a GGUF file: it does not begin with \"GGUF\"".into());
        }
        match reader.u32()? {
            2 | 3 => {}
            1 => return Err("is GGUF version 1, which is no longer in use; convert the model anew".into()),
            version if matches!(version.swap_bytes(), 1..=3) => {
                return Err("is a big-endian GGUF; supported: little-endian".into());
            }
            version => return Err(format!("is GGUF version {version}; supported: 2 and 3")),
        }
        let (n_tensors, n_entries) = (reader.u64()?, reader.u64()?);
        let metadata = Metadata::read(&mut reader, n_entries)?;
        let mut infos = BTreeMap::new();
        for _ in 0..n_tensors {
            let (name, info) = tensor_info(&mut reader)?;
            if infos.insert(name.to_string(), info).is_some() {
                return Err(format!("has two tensors named {name:?}"));
            }
        }
        let alignment = metadata.count("general.alignment")?.map_or(ALIGNMENT, |n| n as u64);
        if alignment < 8 || !alignment.is_power_of_two() {
            return Err(format!("general.alignment is {alignment}; expected a power of two from 8 on"));
        }
        let data = (reader.at as u64).checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        let tensors = infos
            .into_iter()
            .map(|(name, info)| {
                let stored = info.place(data, alignment, bytes.len()).map_err(|e| format!("tensor {name:?} {e}"))?;
                Ok((name, stored))
            })
            .collect::<Checked<_>>()?;
        check_apart(&tensors)?;
        Ok(Self { metadata, tensors })
    }
}

struct Info {
    kind: u32,
    shape: Vec<u64>,
    offset: u64,
}

fn tensor_info<'a>(reader: &mut Reader<'a>) -> Checked<(&'a str, Info)> {
    let name = reader.text()?;
    let n_dimensions = reader.u32()?;
    if !(1..=MAX_DIMENSIONS).contains(&n_dimensions) {
        return Err(format!("tensor {name:?} has {n_dimensions} dimensions; expected 1 to {MAX_DIMENSIONS}"));
    }
    // The file has the contiguous dimension first.
    let mut shape = (0..n_dimensions).map(|_| reader.u64()).collect::<Checked<Vec<_>>>()?;
    shape.reverse();
    Ok((name, Info { kind: reader.u32()?, shape, offset: reader.u64()? }))
}

impl Info {
    /// Checks a tensor and computes its byte range in a file of `length` bytes whose data section begins at `data`.
    fn place(self, data: u64, alignment: u64, length: usize) -> Checked<Stored> {
        let kind = blocks::kind(self.kind)?;
        let (block, block_bytes) = (kind.block_size() as u64, kind.type_size() as u64);
        let columns = self.shape.last().copied().unwrap_or(0);
        if !columns.is_multiple_of(block) {
            return Err(format!("of type {kind:?} has rows of {columns} values; expected a multiple of {block}"));
        }
        let size = self.shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim)).filter(|&n| n > 0);
        let bytes = size.and_then(|n| (n / block).checked_mul(block_bytes));
        let start = data.checked_add(self.offset);
        let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
        if !self.offset.is_multiple_of(alignment) {
            return Err(format!("begins at offset {}, which is not a multiple of {alignment}", self.offset));
        }
        match start.zip(end) {
            Some((start, end)) if end <= length as u64 => Ok(Stored {
                kind,
                shape: self.shape.iter().map(|&dim| dim as usize).collect(),
                bytes: start as usize..end as usize,
            }),
            _ => Err(format!(
                "claims shape {:?} of {kind:?} at offset {}, which the file of {length} bytes does not hold; download it again",
                self.shape, self.offset
            )),
        }
    }
}

/// Checks that no two tensors share bytes, so that together they are never larger than the file.
fn check_apart(tensors: &BTreeMap<String, Stored>) -> Checked<()> {
    let mut placed: Vec<_> = tensors.iter().collect();
    placed.sort_unstable_by_key(|(_, stored)| stored.bytes.start);
    match placed.windows(2).find(|pair| pair[0].1.bytes.end > pair[1].1.bytes.start) {
        Some(pair) => Err(format!("tensors {:?} and {:?} overlap", pair[0].0, pair[1].0)),
        None => Ok(()),
    }
}
