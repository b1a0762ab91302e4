//! One safetensors file: names and shapes from its header, values in place.

use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::compute::{MappedFile, tensor};
use crate::error::{Error, Result, without_backtrace};

/// A mapped file and its header.
pub(super) struct Shard {
    file: MappedFile,
    header: Metadata,
    /// Where the values begin.
    start: usize,
}

impl Shard {
    /// Map a file and check its header.
    pub fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let (header_bytes, header) = SafeTensors::read_metadata(&file).map_err(|e| {
            Error::Weights(format!("{}: cannot be read as safetensors: {e}{}", path.display(), hint(&file)))
        })?;
        let start = size_of::<u64>() + header_bytes;
        Ok(Self { file, header, start })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.header.tensors().into_iter().map(|(name, info)| (name, info.shape.clone()))
    }

    /// True if a tensor is here, and takes no memory of its own.
    pub fn is_mapped(&self, name: &str) -> bool {
        self.header.info(name).is_some_and(|info| info.dtype == Dtype::F32)
    }

    /// A tensor in the type in which it is stored: in the file's own memory if that is f32. None if it is not here.
    pub fn tensor(&self, name: &str) -> Option<Result<Tensor>> {
        let info = self.header.info(name)?;
        let (start, end) = info.data_offsets;
        let cut = || Error::Weights(format!("tensor {name} reaches beyond the file"));
        if info.dtype == Dtype::F32 {
            // SAFETY: parameters as they are opened never change; training begins with copies of them (`train/plan.rs`).
            let values = unsafe { self.file.values(self.start + start, (end - start) / size_of::<f32>()) };
            return Some(values.ok_or_else(cut).and_then(|values| tensor(values, info.shape.as_slice())));
        }
        let bytes = self.file.get(self.start + start..self.start + end);
        Some(bytes.ok_or_else(cut).and_then(|bytes| {
            let unreadable = |e: String| Error::Weights(format!("tensor {name}: {e}"));
            let view = TensorView::new(info.dtype, info.shape.clone(), bytes).map_err(|e| unreadable(e.to_string()))?;
            view.load(&Device::Cpu).map_err(|e| unreadable(without_backtrace(e).to_string()))
        }))
    }
}

/// What to do about a file that is none.
fn hint(file: &[u8]) -> &'static str {
    if file.starts_with(b"version https://git-lfs") {
        return "; it is a pointer of Git LFS, not the weights themselves: fetch them with git lfs pull";
    }
    "; it is damaged or cut short: fetch it again"
}
