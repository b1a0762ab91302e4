//! Activation functions, fused into other operations.
//!
//! `gelu(x) = x/2 (1 + erf(x / sqrt 2))`, `gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (Hendrycks and
//! Gimpel 2016), `silu(x) = x / (1 + exp(-x))` (also called swish), `relu`, `tanh`.

pub(super) mod cpu;
mod function;

pub use function::Activation;
