//! Threads: how work is split, and sums that many operations share.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::simd::vectorised;

/// Elements handled by one task of an element-wise pass: 64 KiB of f32, a few times that with its operands in L2.
pub const CHUNK: usize = 16 * 1024;

/// Most threads accepted; more are taken for a mistake, since all requested threads are started.
pub const MOST_THREADS: usize = 1024;

struct Pool {
    process: u32,
    requested: Option<usize>,
    threads: Option<Arc<ThreadPool>>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { process: 0, requested: None, threads: None });

fn pool() -> Arc<ThreadPool> {
    let mut state = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    // Threads do not survive a fork: a child process needs its own pool.
    if state.process != std::process::id() {
        std::mem::forget(state.threads.take());
        state.process = std::process::id();
    }
    let requested = state.requested;
    state.threads.get_or_insert_with(|| Arc::new(build(requested))).clone()
}

/// 0 is rayon's default: RAYON_NUM_THREADS, else the processors this process may use. OMP_NUM_THREADS, with which
/// process pools divide the processors, is used if RAYON_NUM_THREADS is not set.
#[allow(clippy::expect_used)]
fn build(threads: Option<usize>) -> ThreadPool {
    let from_environment = || match std::env::var_os("RAYON_NUM_THREADS") {
        Some(_) => None,
        None => std::env::var("OMP_NUM_THREADS").ok()?.parse().ok(),
    };
    let threads = threads.or_else(from_environment).unwrap_or(0).min(MOST_THREADS);
    let build = |n| ThreadPoolBuilder::new().num_threads(n).thread_name(|i| format!("warmstart-{i}")).build();
    // A panic here becomes an exception at the boundary.
    build(threads).or_else(|_| build(1)).expect("the system refuses to start a thread")
}

/// Run `f` so that its parallel iterators use this package's thread pool.
pub fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    pool().install(f)
}

/// The number of threads that the kernels use.
pub fn num_threads() -> usize {
    pool().current_num_threads()
}

/// Use `n` threads from now on; 0 means the default.
pub fn set_num_threads(n: usize) {
    let mut state = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    state.requested = (n > 0).then_some(n);
    let pool = state.threads.take();
    if state.process != std::process::id() {
        std::mem::forget(pool);
        state.process = std::process::id();
    }
}

/// Call `f(first index, chunk)` for consecutive chunks of at most `chunk` elements, in parallel.
pub fn for_chunks(values: &mut [f32], chunk: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let chunk = chunk.max(1);
    if values.len() <= chunk {
        f(0, values);
        return;
    }
    values.par_chunks_mut(chunk).enumerate().for_each(|(i, values)| f(i * chunk, values));
}

/// `sum += values`, in parallel.
pub fn add(sum: &mut [f32], values: &[f32]) {
    for_chunks(sum, CHUNK, |start, sum| add_chunk(sum, &values[start..]));
}

vectorised! {
    fn add_chunk(sum: &mut [f32], values: &[f32]) {
        add_assign(sum, values);
    }
}

/// Store a contribution: `out += value` if `add`, else `out = value`.
#[inline(always)]
pub(crate) fn put(out: &mut f32, value: f32, add: bool) {
    *out = if add { *out + value } else { value };
}

/// The sum over rows of a row-major `[rows, columns]` slice: `[columns]`.
pub(crate) fn sum_rows(values: &[f32], columns: usize) -> Vec<f32> {
    const ROWS: usize = 128;
    let partial: Vec<Vec<f32>> = values
        .par_chunks((ROWS * columns).max(1))
        .map(|rows| {
            let mut sum = vec![0f32; columns];
            sum_rows_into(&mut sum, rows);
            sum
        })
        .collect();
    sum_partials(partial, columns)
}

/// Sum of partial sums, added in order.
pub(crate) fn sum_partials(partial: Vec<Vec<f32>>, columns: usize) -> Vec<f32> {
    let mut parts = partial.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0f32; columns]);
    parts.for_each(|part| add_assign(&mut sum, &part));
    sum
}

vectorised! {
    /// `sum += row` for each row of `rows [_, sum.len()]`.
    pub(crate) fn sum_rows_into(sum: &mut [f32], rows: &[f32]) {
        rows.chunks_exact(sum.len().max(1)).for_each(|row| add_assign(sum, row));
    }
}

vectorised! {
    /// `row += bias` for each row of `rows [_, bias.len()]`.
    pub(crate) fn add_bias_to_rows(rows: &mut [f32], bias: &[f32]) {
        rows.chunks_exact_mut(bias.len().max(1)).for_each(|row| add_assign(row, bias));
    }
}

#[inline(always)]
pub(crate) fn add_assign(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
}

/// A mutable slice shared between tasks, each of which writes to parts that no other task touches.
#[derive(Clone, Copy)]
pub(crate) struct SharedSlice<'a, T = f32> {
    values: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the memory is borrowed for `'a`, and each value is touched by one task at a time, as the writers promise:
// those who call `copy_from` or `range`, or use the address from `at`. A value may go to another thread, as `T` is
// `Send`.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T: Copy> SharedSlice<'a, T> {
    pub fn new(values: &'a mut [T]) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), lifetime: PhantomData }
    }

    pub fn len(self) -> usize {
        self.len
    }

    /// The address of value `i`.
    pub fn at(self, i: usize) -> *mut T {
        assert!(i < self.len, "value {i} of {}", self.len);
        self.values.wrapping_add(i)
    }

    /// Overwrite the values from `start` on.
    ///
    /// # Safety
    ///
    /// Nobody else touches these values meanwhile.
    pub unsafe fn copy_from(self, start: usize, values: &[T]) {
        // SAFETY: the caller promises that nobody else touches these values.
        unsafe { self.range(start, values.len()) }.copy_from_slice(values);
    }

    /// The `len` values from `start` on, mutably.
    ///
    /// # Safety
    ///
    /// Nobody else touches these values while they are borrowed.
    pub unsafe fn range(self, start: usize, len: usize) -> &'a mut [T] {
        let fits = start.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(fits, "{len} values at {start} of {}", self.len);
        // SAFETY: within the slice, which is borrowed for `'a`; the caller promises that nobody else touches these
        // values.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), len) }
    }
}
