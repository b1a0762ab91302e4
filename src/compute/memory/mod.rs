//! The allocator: mimalloc, and an arena for large blocks.
//!
//! A training step frees and asks again for blocks of megabytes. Handed back to the system, each comes as fresh pages that
//! the kernel clears first: a tenth of a step in bf16, more on a virtual machine. So they come from segments that stay until
//! [`release`], at the end of a call. A freed range joins its neighbours, and the next block goes where it fits first, so
//! that blocks of other sizes use the same pages and the touched part of a segment stays small.
//!
//! A block may also be the part of a mapped file, so that the weights of a model are there without being copied.

mod file;
mod segment;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

use mimalloc::MiMalloc;

use file::Blocks;
use segment::Segment;

pub use file::MappedFile;

/// Bytes from which on a block comes from the arena.
const LARGE: usize = 256 << 10;
/// Blocks of segments are a multiple of this: of the largest pages in use, so that no page belongs to two of them.
const PAGE: usize = 64 << 10;

/// The global allocator.
pub struct Allocator;

struct Arena {
    segments: Vec<Segment>,
    files: Vec<Blocks>,
}

impl Arena {
    const EMPTY: Self = Self { segments: Vec::new(), files: Vec::new() };

    fn take(&mut self, size: usize) -> Option<usize> {
        if let Some(address) = self.segments.iter_mut().find_map(|segment| segment.take(size)) {
            return Some(address);
        }
        let mut segment = Segment::new(size)?;
        let address = segment.take(size);
        self.segments.push(segment);
        address
    }

    /// False if the block is not from here.
    fn put(&mut self, address: usize, size: usize) -> bool {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.holds(address)) {
            segment.put(address, size);
        } else if let Some(i) = self.files.iter().position(|file| file.holds(address)) {
            if self.files[i].put() {
                self.files.remove(i);
            }
        } else {
            return false;
        }
        true
    }

    fn release(&mut self) {
        self.segments.retain(|segment| !segment.release());
        self.files.iter().for_each(Blocks::release);
    }
}

/// The arena and the process that has it in hand, 0 if none.
struct Shared {
    owner: AtomicU32,
    arena: UnsafeCell<Arena>,
}

// SAFETY: `Shared::with` lets one thread in at a time.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared { owner: AtomicU32::new(0), arena: UnsafeCell::new(Arena::EMPTY) };

impl Shared {
    /// `f` of the arena. None in a process that was forked while a thread that it has not had the arena in hand: nobody
    /// knows in what state it is.
    fn with<R>(&self, f: impl FnOnce(&mut Arena) -> R) -> Option<R> {
        let process = std::process::id();
        while let Err(owner) = self.owner.compare_exchange_weak(0, process, Ordering::Acquire, Ordering::Relaxed) {
            if owner != 0 && owner != process {
                return None;
            }
            std::thread::yield_now();
        }
        // SAFETY: this thread alone got from 0 to here, until it stores 0 again.
        let result = f(unsafe { &mut *self.arena.get() });
        self.owner.store(0, Ordering::Release);
        Some(result)
    }
}

/// What a block from the arena takes; none if a block of this layout comes from elsewhere.
fn size_in_arena(layout: Layout) -> Option<usize> {
    (layout.size() >= LARGE && layout.align() <= PAGE).then(|| layout.size().checked_next_multiple_of(PAGE)).flatten()
}

// SAFETY: blocks of the arena have nothing in common and their layout; all others are mimalloc's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let address = size_in_arena(layout).and_then(|size| SHARED.with(|arena| arena.take(size)).flatten());
        match address {
            Some(address) => address as *mut u8,
            // SAFETY: as the caller promises.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Fresh from the system it is zero already.
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Where nobody knows whose it is, it is lost.
        let ours = size_in_arena(layout).map(|size| SHARED.with(|arena| arena.put(pointer as usize, size)));
        if matches!(ours, None | Some(Some(false))) {
            // SAFETY: it is not from the arena, so it is mimalloc's, with this layout.
            unsafe { MiMalloc.dealloc(pointer, layout) }
        }
    }
}

/// Hand what is free back to the system, and the pages of mapped files, which are read again where they are needed.
pub fn release() {
    SHARED.with(Arena::release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_when_it_is_freed_and_asked_for_again_holds_what_is_written() {
        for n in [LARGE / 4, LARGE / 4 + 1, LARGE, segment::SEGMENT / 4 + 1] {
            let first = vec![1f32; n];
            drop(first);
            assert!(vec![0f32; n].iter().all(|&x| x == 0.0));
            assert_eq!(vec![2u8; n + 7].iter().map(|&x| usize::from(x)).sum::<usize>(), 2 * (n + 7));
        }
        release();
        assert_eq!(vec![3u8; LARGE * 3].iter().map(|&x| usize::from(x)).sum::<usize>(), LARGE * 9);
    }

    #[test]
    fn arena_when_it_was_in_hand_in_another_process_is_left_alone() {
        let shared = Shared { owner: AtomicU32::new(0), arena: UnsafeCell::new(Arena::EMPTY) };
        assert_eq!(shared.with(|arena| arena.segments.len()), Some(0));
        shared.owner.store(std::process::id() + 1, Ordering::Release);
        assert_eq!(shared.with(|arena| arena.segments.len()), None);
    }
}
