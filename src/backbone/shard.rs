//! A safetensors file: names and shapes from its header, values read from the mapped file.

use std::path::Path;

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::array::Array;
use crate::compute::MappedFile;
use crate::error::{Error, Result};

/// A mapped file and its header.
pub(super) struct Shard {
    file: MappedFile,
    header: Metadata,
    /// Offset of the values in bytes.
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

    /// An entry of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.header.metadata().as_ref()?.get(key).cloned()
    }

    /// True if the file has this tensor and its values can be used without a copy.
    pub fn is_mapped(&self, name: &str) -> bool {
        self.header.info(name).is_some_and(|info| info.dtype == Dtype::F32)
    }

    /// A tensor as f32, and whether it is stored as f32, in which case it is used in place where possible; None if the
    /// file lacks it. Integers are an error.
    pub fn get(&self, name: &str) -> Option<Result<(Array, bool)>> {
        let info = self.header.info(name)?;
        let (start, end) = (self.start + info.data_offsets.0, self.start + info.data_offsets.1);
        let is_f32 = info.dtype == Dtype::F32;
        let mapped = is_f32.then(|| self.file.values(start, (end - start) / size_of::<f32>())).flatten();
        let array = match (mapped, self.file.get(start..end)) {
            (Some(values), _) => Array::mapped(values, info.shape.as_slice()),
            (None, Some(bytes)) => TensorView::new(info.dtype, info.shape.clone(), bytes)
                .map_err(|e| Error::Weights(e.to_string()))
                .and_then(|view| Array::try_from(&view)),
            (None, None) => Err(Error::Weights("it reaches beyond the file".into())),
        };
        Some(array.map(|array| (array, is_f32)))
    }
}

/// A hint for a file that is not safetensors.
fn hint(file: &[u8]) -> &'static str {
    if file.starts_with(b"version https://git-lfs") {
        return "; it is a pointer of Git LFS, not the weights themselves: fetch them with git lfs pull";
    }
    "; it is damaged or cut short: fetch it again"
}
