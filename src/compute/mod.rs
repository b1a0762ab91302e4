//! Use of the processor: threads, vector instructions, memory.

mod available;
mod bf16;
mod finite;
pub(crate) mod math;
mod memory;
mod parallel;
pub(crate) mod simd;
mod uninit;

pub use available::available_memory;
pub use bf16::StorageDtype;
pub(crate) use bf16::{Buffer, Elements, SharedBuffer, bf16_bits};
pub use finite::all_finite;
pub(crate) use memory::MappedValues;
pub use memory::{Allocator, MappedFile, release};
pub use parallel::{CHUNK, MOST_THREADS, add, for_chunks, in_pool, num_threads, set_num_threads};
pub(crate) use parallel::{SharedSlice, add_assign, add_bias_to_rows, put, sum_partials, sum_rows, sum_rows_into};
pub use simd::check_environment;
pub(crate) use uninit::uninit;
