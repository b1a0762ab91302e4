//! The allocator: mimalloc, and an arena for large blocks.
//!
//! A training step frees and allocates blocks of megabytes again and again. If they went back to the system, each would
//! come as fresh pages that the kernel clears first: a tenth of a step in bf16, more on a virtual machine. So they come
//! from segments that are kept until [`release`], at the end of a call. A freed range joins its neighbours and the next
//! block goes to the first range it fits in, so that blocks of other sizes reuse the same pages and little of a segment
//! is touched.
//!
//! The weights of a model may stay in a mapped file, without being copied.

mod arena;
mod file;
mod mapped;
mod segment;

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

use arena::{LARGE, SHARED};
use segment::PAGE;

pub use arena::release;
pub use file::MappedFile;
pub(crate) use file::MappedValues;

/// The global allocator.
pub struct Allocator;

/// The size of a block in the arena; None if a block of this layout comes from elsewhere.
fn size_in_arena(layout: Layout) -> Option<usize> {
    (layout.size() >= LARGE && layout.align() <= PAGE).then(|| layout.size().checked_next_multiple_of(PAGE)).flatten()
}

// SAFETY: blocks of the arena are disjoint, and as large and aligned as requested; all others are mimalloc's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let address = size_in_arena(layout).and_then(|size| SHARED.with(|arena| arena.take(size)).flatten());
        match address {
            Some(address) => address as *mut u8,
            // SAFETY: the caller promises a layout that is not of size zero.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Large blocks come fresh from the system, already zero; those of the arena would have to be cleared.
        // SAFETY: the caller promises a layout that is not of size zero.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let size = size_in_arena(layout);
        let put = |size| SHARED.with(|arena| arena.put(pointer as usize, size)).unwrap_or(false);
        if !size.is_some_and(put) {
            // SAFETY: the block is not from the arena, so it is mimalloc's, with this layout. Blocks freed while this
            // thread uses the arena are those of its own lists, which came from mimalloc for the same reason.
            unsafe { MiMalloc.dealloc(pointer, layout) }
        }
    }
}

// Miri cannot call C, in which mimalloc is written.
#[cfg(all(test, not(miri)))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Bytes from this allocator; all else in the tests uses the system's allocator, which sanitizers support.
    struct Block(*mut u8, Layout);

    impl Block {
        /// A block with all bytes equal to `byte`; zeros are requested by `alloc_zeroed`.
        fn new(size: usize, byte: u8) -> Self {
            let layout = Layout::array::<u8>(size.max(1)).unwrap_or_else(|e| unreachable!("{e}"));
            // SAFETY: the size is not zero; a block that is not cleared already has the requested size.
            unsafe {
                let block = if byte == 0 { Allocator.alloc_zeroed(layout) } else { Allocator.alloc(layout) };
                assert!(!block.is_null());
                if byte != 0 {
                    block.write_bytes(byte, layout.size());
                }
                Self(block, layout)
            }
        }

        fn holds(&self, byte: u8) -> bool {
            // SAFETY: all bytes were written.
            unsafe { std::slice::from_raw_parts(self.0, self.1.size()) }.iter().all(|&x| x == byte)
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: it was allocated with this layout.
            unsafe { Allocator.dealloc(self.0, self.1) }
        }
    }

    #[test]
    fn memory_when_it_is_freed_and_asked_for_again_holds_what_is_written() {
        for n in [LARGE, LARGE + 4, 4 * LARGE, segment::SEGMENT + 4] {
            drop(Block::new(n, 1));
            assert!(Block::new(n, 0).holds(0));
            let (first, second) = (Block::new(n / 4 + 7, 2), Block::new(n, 3));
            assert!(first.holds(2) && second.holds(3));
        }
        release();
        assert!(Block::new(LARGE * 3, 4).holds(4));
    }

    #[test]
    fn memory_when_it_is_asked_for_with_the_arena_in_hand_comes_from_elsewhere() {
        let layout = Layout::new::<[u8; 2 * LARGE]>();
        let inside = SHARED.with(|_| {
            // SAFETY: the size is not zero; the block is freed with its layout.
            let block = unsafe { Allocator.alloc(layout) };
            let again = SHARED.with(|_| ()).is_some();
            // SAFETY: it was allocated here, with this layout.
            unsafe { Allocator.dealloc(block, layout) };
            (block as usize, again)
        });
        assert!(inside.is_some_and(|(block, again)| block != 0 && !again));
        assert!(SHARED.with(|arena| arena.segments.len()).is_some(), "it was given back");
    }

    #[test]
    #[cfg(unix)]
    fn child_when_forked_while_other_threads_allocate_can_do_so_too() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        drop(Block::new(2 * LARGE, 1));
                        release();
                    }
                });
            }
            let failed = (0..200).filter(|_| {
                // SAFETY: the child only allocates and exits.
                match unsafe { libc::fork() } {
                    0 => unsafe {
                        libc::alarm(10);
                        let _ = std::hint::black_box(Allocator.alloc(Layout::new::<[u8; 2 * LARGE]>()));
                        libc::_exit(0)
                    },
                    child => {
                        let mut status = -1;
                        // SAFETY: it is a child of this process.
                        unsafe { libc::waitpid(child, &raw mut status, 0) };
                        status != 0
                    }
                }
            });
            let failed = failed.count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
    }
}
