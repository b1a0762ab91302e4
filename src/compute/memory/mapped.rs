//! List of mapped files, so that their pages can be released.

use std::sync::{Arc, Weak};

use memmap2::Mmap;

/// The mapped files whose memory holds values.
pub(super) struct Files(Vec<Weak<Mmap>>);

impl Files {
    pub const EMPTY: Self = Self(Vec::new());

    pub fn add(&mut self, file: &Arc<Mmap>) {
        if !self.0.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(file))) {
            self.0.push(Arc::downgrade(file));
        }
    }

    /// Let the kernel reuse the pages; they are read again when touched.
    pub fn release(&mut self) {
        self.0.retain(|file| {
            let Some(file) = file.upgrade() else { return false };
            #[cfg(target_os = "linux")]
            // SAFETY: the mapping is shared and read-only, so nothing is lost. The kernel may ignore the advice.
            let _ = unsafe { file.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            drop(file);
            true
        });
    }
}
