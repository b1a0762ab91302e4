//! The arena of large blocks: a list of segments, used by one thread at a time.

use std::cell::UnsafeCell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mapped::Files;
use super::segment::Segment;

/// Blocks of at least this many bytes come from the arena.
pub(super) const LARGE: usize = 256 << 10;

/// Segments, and the mapped files whose pages are released together with them.
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

    /// Give a block back; false if it is not from the arena.
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

/// The arena, and the number of the thread that uses it: 0 is none.
pub(super) struct Shared {
    owner: AtomicUsize,
    arena: UnsafeCell<Arena>,
}

// SAFETY: `Shared::with` lets one thread in at a time.
unsafe impl Sync for Shared {}

pub(super) static SHARED: Shared = Shared { owner: AtomicUsize::new(0), arena: UnsafeCell::new(Arena::EMPTY) };

impl Shared {
    /// Call `f` with the arena; None if this thread is already using it, which happens when the arena's own lists grow.
    pub fn with<R>(&self, f: impl FnOnce(&mut Arena) -> R) -> Option<R> {
        prepare_for_forks();
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            return None;
        }
        self.take();
        let _in_hand = InHand(self);
        // SAFETY: only this thread uses the arena until it gives it back.
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

/// Guard that gives the arena back when dropped.
struct InHand<'a>(&'a Shared);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A nonzero number of this thread. Allocates nothing, because the allocator calls it.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// Ensure that no other thread uses the arena during a fork: in the child that thread would never give it back.
#[cfg(unix)]
fn prepare_for_forks() {
    extern "C" fn take() {
        SHARED.take();
    }
    extern "C" fn give_back() {
        SHARED.give_back();
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handlers touch only an atomic and a thread-local variable.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(take), Some(give_back), Some(give_back));
    });
}

#[cfg(not(unix))]
fn prepare_for_forks() {}

/// Return free memory to the system, and the pages of mapped files, which are read again when needed.
pub fn release() {
    let _ = SHARED.with(Arena::release);
}
