//! Where large blocks come from: segments, one thread at a time.

use std::cell::UnsafeCell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mapped::Files;
use super::segment::Segment;

/// Bytes from which on a block comes from the arena.
pub(super) const LARGE: usize = 256 << 10;

/// Segments, and the files whose pages go where theirs do.
pub(super) struct Arena {
    pub segments: Vec<Segment>,
    pub files: Files,
}

impl Arena {
    const EMPTY: Self = Self { segments: Vec::new(), files: Files::EMPTY };

    pub fn take(&mut self, size: usize) -> Option<usize> {
        if let Some(address) = self.segments.iter_mut().find_map(|segment| segment.take(size)) {
            return Some(address);
        }
        let mut segment = Segment::new(size)?;
        let address = segment.take(size);
        self.segments.push(segment);
        address
    }

    /// False if the block is not from here.
    pub fn put(&mut self, address: usize, size: usize) -> bool {
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.holds(address)) else { return false };
        segment.put(address, size);
        true
    }

    fn release(&mut self) {
        self.segments.retain(|segment| !segment.release());
        self.files.release();
    }
}

/// The arena, and which thread has it in hand: 0 is none.
pub(super) struct Shared {
    owner: AtomicUsize,
    arena: UnsafeCell<Arena>,
}

// SAFETY: `Shared::with` lets one thread in at a time.
unsafe impl Sync for Shared {}

pub(super) static SHARED: Shared = Shared { owner: AtomicUsize::new(0), arena: UnsafeCell::new(Arena::EMPTY) };

impl Shared {
    /// `f` of the arena; none where this thread has it in hand already, as the arena's own lists grow.
    pub fn with<R>(&self, f: impl FnOnce(&mut Arena) -> R) -> Option<R> {
        prepare_for_forks();
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            return None;
        }
        self.take();
        let _in_hand = InHand(self);
        // SAFETY: this thread alone took it, until it gives it back.
        Some(f(unsafe { &mut *self.arena.get() }))
    }

    fn take(&self) {
        while self.owner.compare_exchange_weak(0, this_thread(), Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
    }

    fn give_back(&self) {
        self.owner.store(0, Ordering::Release);
    }
}

/// Gives the arena back, whatever happens.
struct InHand<'a>(&'a Shared);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A number of this thread, not 0. Takes no memory, so that the allocator may ask for it.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// A process is forked while no other thread has the arena in hand: in the child that thread would never give it back.
#[cfg(unix)]
fn prepare_for_forks() {
    extern "C" fn take() {
        SHARED.take();
    }
    extern "C" fn give_back() {
        SHARED.give_back();
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handlers touch an atomic and a variable of the thread.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(take), Some(give_back), Some(give_back));
    });
}

#[cfg(not(unix))]
fn prepare_for_forks() {}

/// Hand what is free back to the system, and the pages of mapped files, which are read again where they are needed.
pub fn release() {
    let _ = SHARED.with(Arena::release);
}
