//! Runs functions of candle tensors inside our autograd, on the CPU, so that candle-nn's layers (linear, convolution,
//! embedding, LSTM, GRU) can be used in a head with our parameters.
//!
//! A [`CandleFunction`] runs once in the forward pass. The graph that candle records is kept until candle runs the
//! backward pass, and is then freed: a head is small compared with its backbone, so recomputing it would cost more than
//! the memory it saves. For a large head, wrap the call in [`crate::autograd::checkpoint`], which keeps only the
//! inputs.
//!
//! candle silently stops gradients at operations without a backward (the fused `LayerNorm`, `RmsNorm`,
//! `ops::softmax_last_dim` and `rotary_emb` of candle-nn), its `conv1d` computes wrong gradients, and its random
//! numbers cannot be seeded. `audit` detects all of these and returns an error that names the input or parameter with a
//! missing or wrong gradient. Dropout is passed in as an input made from our masks.
//!
//! Batches are packed everywhere else. Only `padding` pads: it stacks sequences of similar length, `[T, D]` to
//! `[b, L, D]`, for functions that need a batch dimension. Recurrent layers need no padding, see `time_steps`.

mod audit;
mod convolution;
mod function;
mod padding;
mod recurrent;
mod tensors;
mod time_steps;

pub use convolution::conv1d;
pub use function::CandleFunction;
pub use padding::{Per, apply_padded};
pub use recurrent::{Cell, Recurrent, RecurrentDropout};
pub use tensors::Tensors;
