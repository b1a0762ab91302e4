//! The matrix product all operations share.

use gemm::{Parallelism, gemm};

/// A matrix in memory: where it begins and its row and column strides, in elements.
#[derive(Clone, Copy)]
pub(super) struct Operand(pub *const f32, pub usize, pub usize);

/// `out [m, n] = scale * a [m, k] b [k, n]`, or added to what `out` holds; `out` has column stride 1.
///
/// # Safety
///
/// The strides must stay within the allocations, and nothing else may touch `out` meanwhile.
pub(super) unsafe fn product(
    [m, n, k]: [usize; 3],
    (out, row_stride): (*mut f32, usize),
    add: bool,
    (a, b): (Operand, Operand),
    scale: f32,
    threads: Parallelism,
) {
    // SAFETY: what the caller promises.
    unsafe {
        gemm(
            m,
            n,
            k,
            out,
            1,
            row_stride as isize,
            add,
            a.0,
            a.2 as isize,
            a.1 as isize,
            b.0,
            b.2 as isize,
            b.1 as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}
