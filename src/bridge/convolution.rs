//! Convolution over the tokens of padded sequences.
//!
//! The gradients of candle's own `conv1d` (0.11.1, on the CPU) are wrong for more than one sequence: its kernel's, since a
//! transposed kernel is read as if it were not (huggingface/candle#3836), and without padding its input's, too. Here shifted
//! copies of the input lie side by side, and a matrix product follows.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Linear, Module};

/// `x [b, L, D]` to `[b, L, N]` with `weight [N, D, K]`, which is torch's layout, and `bias [N]`: output `t` sees the tokens `t - K / 2` to
/// `t + K / 2`, `dilation` apart; beyond both ends lie zeros. `K` is odd.
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, dilation: usize) -> Result<Tensor> {
    let ((_, length, d), (n, columns, k)) = (x.dims3()?, weight.dims3()?);
    if columns != d || k % 2 == 0 || dilation == 0 {
        bail!(
            "conv1d: got weight [{n}, {columns}, {k}] and dilation {dilation}, expected [_, {d}, odd] and at least 1"
        );
    }
    let reach = k / 2 * dilation;
    let wide = x.pad_with_zeros(1, reach, reach)?;
    let shifted = (0..k).map(|i| wide.narrow(1, i * dilation, length)).collect::<Result<Vec<_>>>()?;
    // [b, L, K D] and [N, K D].
    let (inputs, kernel) = (Tensor::cat(&shifted, 2)?, weight.transpose(1, 2)?.contiguous()?.reshape((n, k * d))?);
    Linear::new(kernel, bias.cloned()).forward(&inputs)
}
