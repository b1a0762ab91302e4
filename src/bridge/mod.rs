//! Functions of candle tensors inside our autograd, on the CPU: what candle-nn has (linear, convolution, embedding, LSTM, GRU)
//! as layers of a head, with our parameters.
//!
//! A [`CandleFunction`] runs once in the forward pass. The graph that candle records is kept until the backward pass, which
//! candle then does, and is freed with it: a head is small beside its backbone, so computing it twice would cost more than the
//! memory does. Where that is not so, [`crate::autograd::checkpoint`] around the call keeps the inputs alone.
//!
//! candle stops gradients without a word at operations that have no backward (the fused `LayerNorm`, `RmsNorm`,
//! `ops::softmax_last_dim` and `rotary_emb` of candle-nn), those of its `conv1d` are wrong, and its random numbers cannot be
//! seeded. All of this is refused, see `audit`: an input or a parameter that gets no gradient, or a wrong one, is named. Dropout
//! comes in as an input, from our masks.
//!
//! Batches are packed everywhere else. This is the only place that pads: `padding` lays sequences of similar length beside
//! each other, `[T, D]` to `[b, L, D]`, for functions that want a batch. Recurrent layers need no padding, see `time_steps`.

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
