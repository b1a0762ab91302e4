//! Files as memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::{LARGE, SHARED};
use crate::error::{Error, Result};

/// A file mapped into memory, read-only; read as its bytes. Whoever changes the file in place changes them too; a new file
/// under its name does not.
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Map a file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: weights are files that nobody changes in place, as other libraries assume too.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Ok(Self(Arc::new(map)))
    }

    /// The `len` values from byte `offset` on: the file's own memory where it can be, else a copy. None beyond the end.
    ///
    /// # Safety
    ///
    /// The values are not written to: their pages are read-only, and another vector may be of the same bytes.
    pub(crate) unsafe fn values(&self, offset: usize, len: usize) -> Option<Vec<f32>> {
        let bytes = self.get(offset..offset.checked_add(len.checked_mul(4)?)?)?;
        // Aligned or not used.
        #[allow(clippy::cast_ptr_alignment)]
        let start = bytes.as_ptr().cast::<f32>().cast_mut();
        if cfg!(target_endian = "little") && bytes.len() >= LARGE && start.is_aligned() {
            Blocks::add(&self.0);
            // SAFETY: the memory is there until the allocator is given the block back. Of its type any bits are valid.
            return Some(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, len)) }.into_vec());
        }
        let value = |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).ok();
        bytes.chunks_exact(4).map(value).collect()
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A file of which parts serve as blocks.
pub(super) struct Blocks {
    map: Arc<Mmap>,
    count: usize,
}

impl Blocks {
    /// One block more of this file.
    fn add(map: &Arc<Mmap>) {
        SHARED.with(|arena| match arena.files.iter_mut().find(|file| Arc::ptr_eq(&file.map, map)) {
            Some(file) => file.count += 1,
            None => arena.files.push(Self { map: map.clone(), count: 1 }),
        });
    }

    /// True if the address lies in the file.
    pub fn holds(&self, address: usize) -> bool {
        self.map.as_ptr_range().contains(&(address as *const u8))
    }

    /// A block comes back; true if it was the last.
    pub fn put(&mut self) -> bool {
        self.count -= 1;
        self.count == 0
    }

    /// The kernel may use the pages for something else; they are read again when they are touched.
    pub fn release(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping is shared and read-only: there is nothing to lose. The kernel may not listen.
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_when_the_file_is_gone_are_there_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| unreachable!("{e}"));
        let path = dir.path().join("values");
        let n = LARGE / 4 + 3;
        let bytes: Vec<u8> = (0..=2 * n).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert!(std::fs::write(&path, bytes).is_ok());
        let file = MappedFile::open(&path).ok();
        // SAFETY: what is pushed to a vector goes to a copy of it.
        let read = |offset, len| file.as_ref().and_then(|file| unsafe { file.values(offset, len) });
        let (first, second, odd) = (read(0, n), read(4 * n, n), read(2, n));
        assert_eq!((read(8 * n + 1, 1), read(4, usize::MAX / 2), read(usize::MAX, 1)), (None, None, None));
        assert_eq!(read(8 * n, 1), Some(vec![2.0 * n as f32]));
        drop((file, std::fs::remove_file(&path)));
        super::super::release();
        assert!(odd.is_some_and(|odd| odd.len() == n));
        assert!(first.is_some_and(|first| first.iter().enumerate().all(|(i, x)| *x == i as f32)));
        let second = second.map(|mut second| {
            second.push(0.5);
            second
        });
        assert!(second.is_some_and(|second| second.len() == n + 1 && second[0] == n as f32 && second[n] == 0.5));
    }
}
