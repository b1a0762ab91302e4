//! Which files are memory, so that their pages can be given up.

use std::sync::{Arc, Weak};

use memmap2::Mmap;

/// The files in whose memory values are.
pub(super) struct Files(Vec<Weak<Mmap>>);

impl Files {
    pub const EMPTY: Self = Self(Vec::new());

    pub fn add(&mut self, file: &Arc<Mmap>) {
        if !self.0.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(file))) {
            self.0.push(Arc::downgrade(file));
        }
    }

    /// The kernel may use the pages for something else; they are read again when they are touched.
    pub fn release(&mut self) {
        self.0.retain(|file| {
            let Some(file) = file.upgrade() else { return false };
            #[cfg(target_os = "linux")]
            // SAFETY: the mapping is shared and read-only: there is nothing to lose. The kernel may not listen.
            let _ = unsafe { file.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            drop(file);
            true
        });
    }
}
