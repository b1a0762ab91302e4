//! The allocator: mimalloc, and large blocks kept for the next who asks.
//!
//! A training step frees and asks again for blocks of megabytes. Handed back to the system, each comes as fresh pages that
//! the kernel clears first: 9 percent of a step in bf16. So they stay here until [`release`], at the end of a call.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::Mutex;

use mimalloc::MiMalloc;

/// Bytes from which on a block is kept.
const LARGE: usize = 1 << 20;
/// Blocks are kept in sizes of which there are this many from one power of two to the next. Pages that are not touched cost
/// nothing, so coarse sizes are good: batches that differ a little in length use the same blocks.
const STEPS: usize = 2;
/// Kept sizes: enough for 2^44 bytes.
const CLASSES: usize = 24 * STEPS;
/// Blocks kept of one size.
const DEPTH: usize = 64;

/// The global allocator.
pub struct Allocator;

struct Kept {
    blocks: [[usize; DEPTH]; CLASSES],
    counts: [usize; CLASSES],
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { blocks: [[0; DEPTH]; CLASSES], counts: [0; CLASSES] });

/// The class whose blocks are the smallest that hold a large size.
fn class(size: usize) -> Option<usize> {
    let power = size.ilog2();
    let step = (1usize << power) / STEPS;
    let class = (power - LARGE.ilog2()) as usize * STEPS + (size - (1 << power)).div_ceil(step);
    (class < CLASSES).then_some(class)
}

/// Bytes of a block of a class.
fn block_size(class: usize) -> usize {
    let power = LARGE << (class / STEPS);
    power + class % STEPS * (power / STEPS)
}

/// The class of a layout that is kept, and the layout of its blocks.
fn kept(layout: Layout) -> Option<(usize, Layout)> {
    if layout.size() < LARGE || layout.align() > 64 {
        return None;
    }
    let class = class(layout.size())?;
    Some((class, Layout::from_size_align(block_size(class), 64).ok()?))
}

// SAFETY: a block comes from mimalloc with the layout of its class, and goes back with the same.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((class, block)) = kept(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { MiMalloc.alloc(layout) };
        };
        if let Some(pointer) = take(class) {
            return pointer;
        }
        make_room(block.size());
        // SAFETY: not of size zero.
        unsafe { MiMalloc.alloc(block) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match kept(layout) {
            // Fresh from the system they are zero already.
            // SAFETY: as the caller promises.
            Some((_, block)) => unsafe { MiMalloc.alloc_zeroed(block) },
            None => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((class, block)) = kept(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { MiMalloc.dealloc(pointer, layout) };
        };
        if let Ok(mut kept) = KEPT.try_lock() {
            let count = kept.counts[class];
            if count < DEPTH {
                kept.blocks[class][count] = pointer as usize;
                kept.counts[class] += 1;
                return;
            }
        }
        // SAFETY: it was asked for with this layout.
        unsafe { MiMalloc.dealloc(pointer, block) }
    }
}

/// Take out a kept block.
fn take(class: usize) -> Option<*mut u8> {
    // Not waiting for the lock: a child process may have been forked while another thread held it.
    let mut kept = KEPT.try_lock().ok()?;
    let count = kept.counts[class].checked_sub(1)?;
    kept.counts[class] = count;
    Some(kept.blocks[class][count] as *mut u8)
}

/// Hand `bytes` of what is kept back, smaller blocks first: as much as is now asked of the system.
fn make_room(bytes: usize) {
    let mut freed = 0;
    for class in 0..CLASSES {
        while freed < bytes
            && let Some(pointer) = take(class)
        {
            let size = block_size(class);
            if let Ok(block) = Layout::from_size_align(size, 64) {
                // SAFETY: it was asked for with the layout of its class.
                unsafe { MiMalloc.dealloc(pointer, block) };
            }
            freed += size;
        }
    }
}

/// Hand all that is kept back.
pub fn release() {
    make_room(usize::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_when_a_size_is_asked_for_is_the_smallest_that_holds_it() {
        for size in (LARGE..40 * LARGE).step_by(99_991) {
            let class = class(size).unwrap_or(usize::MAX);
            assert!(block_size(class) >= size);
            assert!(class == 0 || block_size(class - 1) < size, "{size}");
        }
        assert_eq!((class(LARGE), block_size(1), class(LARGE * 2 - 1)), (Some(0), LARGE + LARGE / 2, Some(2)));
    }

    #[test]
    fn memory_when_it_is_freed_and_asked_for_again_holds_what_is_written() {
        for n in [LARGE / 4, LARGE / 4 + 1, LARGE] {
            let first = vec![1f32; n];
            drop(first);
            assert!(vec![0f32; n].iter().all(|&x| x == 0.0));
            assert_eq!(vec![2f32; n + 7].iter().sum::<f32>(), 2.0 * (n + 7) as f32);
        }
        release();
        assert_eq!(vec![3u8; LARGE * 3].iter().map(|&x| usize::from(x)).sum::<usize>(), LARGE * 9);
    }
}
