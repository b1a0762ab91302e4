//! Scratch memory of a task.

use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with thread-local scratch areas of the given lengths. `f` must not wait for other threads, because this
/// thread would then run another task that needs the same memory.
pub(in crate::ops) fn with_scratch<const N: usize>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N])) {
    SCRATCH.with_borrow_mut(|scratch| {
        let len = lens.iter().sum();
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        let mut rest = scratch.as_mut_slice();
        f(lens.map(|len| {
            let (area, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            area
        }));
    });
}
