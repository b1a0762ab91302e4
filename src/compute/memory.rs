//! The allocator: mimalloc, and an arena for large blocks.
//!
//! A training step frees and asks again for blocks of megabytes. Handed back to the system, each comes as fresh pages that
//! the kernel clears first: a tenth of a step in bf16, more on a virtual machine. So they come from segments that stay until
//! [`release`], at the end of a call. A freed range joins its neighbours, and the next block goes where it fits first, so
//! that blocks of other sizes use the same pages and the touched part of a segment stays small.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

use mimalloc::MiMalloc;

/// Bytes from which on a block comes from the arena.
const LARGE: usize = 1 << 20;
/// Blocks are a multiple of this.
const PAGE: usize = 4096;
/// Bytes of a segment, unless a block needs more. Pages that are not touched cost nothing.
const SEGMENT: usize = 256 << 20;
/// Segments begin and end where the kernel's huge pages do.
const HUGE_PAGE: usize = 2 << 20;

/// The global allocator.
pub struct Allocator;

/// A stretch of memory, cut into blocks.
struct Segment {
    base: usize,
    len: usize,
    /// Start and length of what is free, in order; neighbours are joined.
    free: Vec<(usize, usize)>,
}

impl Segment {
    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len, HUGE_PAGE).ok()
    }

    /// A fresh one in which a block of `size` fits.
    fn new(size: usize) -> Option<Self> {
        let len = size.max(SEGMENT).checked_next_multiple_of(HUGE_PAGE)?;
        // SAFETY: not of size zero.
        let base = unsafe { MiMalloc.alloc(Self::layout(len)?) } as usize;
        if base == 0 {
            return None;
        }
        advise(base, len, Advice::HugePages);
        Some(Self { base, len, free: vec![(base, len)] })
    }

    fn holds(&self, address: usize) -> bool {
        (self.base..self.base + self.len).contains(&address)
    }

    fn take(&mut self, size: usize) -> Option<usize> {
        let i = self.free.iter().position(|&(_, len)| len >= size)?;
        let (start, len) = self.free[i];
        if len == size {
            self.free.remove(i);
        } else {
            self.free[i] = (start + size, len - size);
        }
        Some(start)
    }

    fn put(&mut self, start: usize, size: usize) {
        let i = self.free.partition_point(|&(other, _)| other < start);
        self.free.insert(i, (start, size));
        for i in [i + 1, i] {
            if i > 0 && i < self.free.len() && self.free[i - 1].0 + self.free[i - 1].1 == self.free[i].0 {
                self.free[i - 1].1 += self.free.remove(i).1;
            }
        }
    }
}

struct Arena {
    segments: Vec<Segment>,
}

impl Arena {
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
        let segment = self.segments.iter_mut().find(|segment| segment.holds(address));
        segment.map(|segment| segment.put(address, size)).is_some()
    }

    fn release(&mut self) {
        self.segments.retain(|segment| {
            if segment.free == [(segment.base, segment.len)]
                && let Some(layout) = Segment::layout(segment.len)
            {
                // SAFETY: it came with this layout, and no block of it is in use.
                unsafe { MiMalloc.dealloc(segment.base as *mut u8, layout) };
                return false;
            }
            for &(start, len) in &segment.free {
                advise(start, len, Advice::DontNeed);
            }
            true
        });
    }
}

/// The arena and the process that has it in hand, 0 if none.
struct Shared {
    owner: AtomicU32,
    arena: UnsafeCell<Arena>,
}

// SAFETY: `Shared::with` lets one thread in at a time.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared { owner: AtomicU32::new(0), arena: UnsafeCell::new(Arena { segments: Vec::new() }) };

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

/// Hand what is free back to the system.
pub fn release() {
    SHARED.with(Arena::release);
}

#[derive(Clone, Copy)]
enum Advice {
    HugePages,
    DontNeed,
}

/// Tell the kernel about a range of pages; it may not listen.
#[cfg(target_os = "linux")]
fn advise(start: usize, len: usize, advice: Advice) {
    let advice = match advice {
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::DontNeed => libc::MADV_DONTNEED,
    };
    // SAFETY: whole pages of a segment; what lies in them is free.
    unsafe { libc::madvise(start as *mut libc::c_void, len, advice) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: usize, _: usize, _: Advice) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_when_blocks_come_and_go_in_any_order_is_whole_again() {
        let mut segment = Segment { base: PAGE, len: 64 * PAGE, free: vec![(PAGE, 64 * PAGE)] };
        let sizes = [3, 7, 1, 13, 2, 5].map(|pages| pages * PAGE);
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 3, 5, 0, 2, 4], [2, 0, 5, 1, 4, 3]] {
            let blocks = sizes.map(|size| segment.take(size).map_or((0, 0), |start| (start, size)));
            for (i, a) in blocks.iter().enumerate() {
                assert!(segment.holds(a.0) && segment.holds(a.0 + a.1 - 1));
                assert!(blocks[i + 1..].iter().all(|b| a.0 + a.1 <= b.0 || b.0 + b.1 <= a.0));
            }
            assert_eq!(segment.take(34 * PAGE), None);
            for i in order {
                segment.put(blocks[i].0, blocks[i].1);
            }
            assert_eq!(segment.free, [(PAGE, 64 * PAGE)]);
        }
    }

    #[test]
    fn segment_when_a_block_is_freed_gives_its_place_to_smaller_ones() {
        let mut segment = Segment { base: PAGE, len: 8 * PAGE, free: vec![(PAGE, 8 * PAGE)] };
        let first = segment.take(4 * PAGE);
        let second = segment.take(PAGE);
        segment.put(PAGE, 4 * PAGE);
        assert_eq!((first, second), (Some(PAGE), Some(5 * PAGE)));
        assert_eq!([segment.take(3 * PAGE), segment.take(PAGE), segment.take(4 * PAGE)], [Some(PAGE), Some(4 * PAGE), None]);
    }

    #[test]
    fn memory_when_it_is_freed_and_asked_for_again_holds_what_is_written() {
        for n in [LARGE / 4, LARGE / 4 + 1, LARGE, SEGMENT / 4 + 1] {
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
        let shared = Shared { owner: AtomicU32::new(0), arena: UnsafeCell::new(Arena { segments: Vec::new() }) };
        assert_eq!(shared.with(|arena| arena.segments.len()), Some(0));
        shared.owner.store(std::process::id() + 1, Ordering::Release);
        assert_eq!(shared.with(|arena| arena.segments.len()), None);
    }
}
