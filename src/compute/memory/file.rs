//! Memory-mapped files.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::arena::{LARGE, SHARED};
use crate::error::{Error, Result};

/// A file mapped into memory, read-only; dereferences to its bytes.
pub struct MappedFile(Arc<Mmap>);

/// Read-only values in a mapped file, which stays mapped while they exist.
#[derive(Clone)]
pub(crate) struct MappedValues {
    file: Arc<Mmap>,
    /// Offset in bytes.
    start: usize,
    len: usize,
}

impl MappedFile {
    /// Map a file of weights, tokens or training state. Assumes that nobody changes it in place while it is used.
    ///
    /// No portable lock prevents such changes, and copying would take the memory that mapping saves. This is the one
    /// place that makes the assumption, for all files that this package opens, and the user documentation states it.
    /// Files that this package writes are renamed into place when complete (`files.rs`): a new file of the same name
    /// leaves the old one mapped. If a file changes nevertheless, truncation ends the process (SIGBUS), and changed
    /// bytes are other values: numbers, of which any bits are valid, and sizes, which are checked again where they are
    /// used as bounds of slices.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: assumed for files that are opened by name, see above.
        unsafe { Self::map(&file) }.map_err(|e| Error::io(path, e))
    }

    /// Map a file.
    ///
    /// # Safety
    ///
    /// Nobody may change or truncate the file, in this process or another, while this or its values exist.
    unsafe fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: the caller promises that the bytes do not change.
        Ok(Self(Arc::new(unsafe { Mmap::map(file) }?)))
    }

    /// The `len` f32 values from byte `offset` on, without a copy; None if they reach beyond the end of the file, are
    /// so few that a copy is smaller than the pages, or cannot be read as f32 in place.
    pub(crate) fn values(&self, offset: usize, len: usize) -> Option<MappedValues> {
        let bytes = self.get(offset..offset.checked_add(len.checked_mul(size_of::<f32>())?)?)?;
        if cfg!(target_endian = "big") || bytes.len() < LARGE || bytemuck::try_cast_slice::<u8, f32>(bytes).is_err() {
            return None;
        }
        let _ = SHARED.with(|arena| arena.files.add(&self.0));
        Some(MappedValues { file: self.0.clone(), start: offset, len })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for MappedValues {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // Bounds and alignment were checked on construction.
        bytemuck::cast_slice(&self.file[self.start..self.start + self.len * size_of::<f32>()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn values_when_the_file_is_gone_are_there_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| unreachable!("{e}"));
        let path = dir.path().join("values");
        let n = LARGE / 4 + 3;
        let bytes: Vec<u8> = (0..=2 * n).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert!(std::fs::write(&path, bytes).is_ok());
        let file = MappedFile::open(&path).ok();
        let read = |offset, len| file.as_ref().and_then(|file| file.values(offset, len));
        let (first, second) = (read(0, n), read(4 * n, n));
        let none = [(8 * n + 1, 1), (4, usize::MAX / 2), (usize::MAX, 1), (2, n), (0, LARGE / 4 - 1)];
        assert!(none.iter().all(|&(offset, len)| read(offset, len).is_none()));
        drop((file, std::fs::remove_file(&path)));
        super::super::arena::release();
        assert!(first.is_some_and(|first| first.len() == n && first.iter().enumerate().all(|(i, x)| *x == i as f32)));
        let second = second.map(|second| second.to_vec());
        assert!(second.is_some_and(|second| second[0] == n as f32 && second[n - 1] == (2 * n - 1) as f32));
    }
}
