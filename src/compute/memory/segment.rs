//! A segment: a range of memory from the system, divided into blocks.

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

/// Block sizes are a multiple of this, the largest page size in use, so that no two blocks share a page.
pub(super) const PAGE: usize = 64 << 10;
/// Size of a segment in bytes, unless a block needs more. Untouched pages cost nothing.
pub(super) const SEGMENT: usize = 256 << 20;
/// Segments are aligned to the kernel's huge pages.
const HUGE_PAGE: usize = 2 << 20;

/// A range of memory, divided into blocks.
pub(super) struct Segment {
    base: usize,
    len: usize,
    /// Start and length of the free ranges, in order; adjacent ranges are joined.
    free: Vec<(usize, usize)>,
}

impl Segment {
    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len, HUGE_PAGE).ok()
    }

    /// A new segment that can hold a block of `size` bytes.
    pub fn new(size: usize) -> Option<Self> {
        let len = size.max(SEGMENT).checked_next_multiple_of(HUGE_PAGE)?;
        // SAFETY: the size is not zero.
        let base = unsafe { MiMalloc.alloc(Self::layout(len)?) } as usize;
        if base == 0 {
            return None;
        }
        advise(base, len, Advice::HugePages);
        Some(Self { base, len, free: vec![(base, len)] })
    }

    /// True if the address is inside the segment.
    pub fn holds(&self, address: usize) -> bool {
        (self.base..self.base + self.len).contains(&address)
    }

    /// Take a block from the first free range that is large enough (first fit).
    pub fn take(&mut self, size: usize) -> Option<usize> {
        let i = self.free.iter().position(|&(_, len)| len >= size)?;
        let (start, len) = self.free[i];
        if len == size {
            self.free.remove(i);
        } else {
            self.free[i] = (start + size, len - size);
        }
        Some(start)
    }

    /// Give a block back.
    pub fn put(&mut self, start: usize, size: usize) {
        let i = self.free.partition_point(|&(other, _)| other < start);
        self.free.insert(i, (start, size));
        for i in [i + 1, i] {
            if i > 0 && i < self.free.len() && self.free[i - 1].0 + self.free[i - 1].1 == self.free[i].0 {
                self.free[i - 1].1 += self.free.remove(i).1;
            }
        }
    }

    /// Return the free pages to the system; true if the whole segment was free, and is gone.
    pub fn release(&self) -> bool {
        if self.free == [(self.base, self.len)]
            && let Some(layout) = Self::layout(self.len)
        {
            // mimalloc may keep the range for itself.
            advise(self.base, self.len, Advice::DontNeed);
            // SAFETY: it came with this layout, and no block of it is in use.
            unsafe { MiMalloc.dealloc(self.base as *mut u8, layout) };
            return true;
        }
        for &(start, len) in &self.free {
            advise(start, len, Advice::DontNeed);
        }
        false
    }
}

#[derive(Clone, Copy)]
enum Advice {
    HugePages,
    DontNeed,
}

/// Advise the kernel about a range of pages; it may ignore this.
#[cfg(target_os = "linux")]
fn advise(start: usize, len: usize, advice: Advice) {
    let advice = match advice {
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::DontNeed => libc::MADV_DONTNEED,
    };
    // SAFETY: the range is whole pages of a segment, and free.
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
        assert_eq!(
            [segment.take(3 * PAGE), segment.take(PAGE), segment.take(4 * PAGE)],
            [Some(PAGE), Some(4 * PAGE), None]
        );
    }
}
