//! The matrix product all operations share: `C [m, n] = A [m, k] B [k, n]`.
//!
//! `B` is packed into panels, `A` too, a block at a time, by the task that needs it, or whole where several need the same block
//! (`pack.rs`); both are rounded on the way (`number.rs`). What has the number format of the product already and lies in order
//! is read where it is: `B` in f32 (`right.rs`), rows of `A` in f32 or bf16. Only `W^T`, what is rounded and rows that would
//! push each other out of the cache have to be packed. Tiles of `C` are summed in registers (`tile.rs`); a task (`tasks.rs`)
//! does so for a block of them (`block.rs`), and the rows of `C` are finished by the caller while they are in the cache. The
//! scheme is that of Goto and van de Geijn (2008). Every value of `C` is summed in the same order whatever the number of
//! threads.

mod block;
mod int8;
mod lines;
mod number;
mod once;
mod output;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod panel;
mod right;
mod tasks;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use block::TASK_ROWS;
pub use int8::Int8Weight;
pub(crate) use lines::Lines;
pub use number::{Format, Precision};
pub(crate) use once::{FEW, product_once};
pub(crate) use output::Output;
pub(crate) use panel::COLUMNS;
pub use right::Packed;
pub(crate) use right::{Part, Right};
pub(crate) use tasks::{product, product_here};
