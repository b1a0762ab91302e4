//! Matrix multiplication for all operations: `C [m, n] = A [m, k] B [k, n]`.
//!
//! `B` is packed into panels. `A` is packed too: a block at a time by the task that needs it, or as a whole if several
//! tasks need the same block (`pack.rs`). Both are rounded while packing (`number.rs`). Operands that already have the
//! product's number format and a suitable layout are read in place: `B` in f32 (`rhs.rs`), rows of `A` in f32 or
//! bf16. Only `W^T`, operands to be rounded, and rows that would evict each other from the cache have to be packed.
//! Tiles of `C` are summed in registers (`tile.rs`); a task (`tasks.rs`) computes a block of tiles (`block.rs`), and
//! the caller finishes the rows of `C` while they are in the cache. The scheme is that of Goto and van de Geijn (2008).
//! Every value of `C` is summed in the same order for any number of threads.

mod block;
mod int8;
mod matrix_view;
mod number;
mod once;
mod output;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod panel;
mod rhs;
mod tasks;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use block::TASK_ROWS;
pub use int8::Int8Weight;
pub(crate) use matrix_view::MatrixView;
pub use number::{Format, Precision};
pub(crate) use once::{MAX_ROWS_UNPACKED, matmul_streaming_rhs};
pub(crate) use output::Output;
pub(crate) use panel::COLUMNS;
pub use rhs::Packed;
pub(crate) use rhs::{Rhs, RhsView};
pub(crate) use tasks::{matmul, matmul_on_this_thread};
