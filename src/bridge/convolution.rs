//! Convolution over the tokens of padded sequences.
//!
//! candle's own `conv1d` (0.11.1, on the CPU) computes wrong gradients for more than one sequence: the kernel's,
//! because a transposed kernel is read as if it were not transposed (huggingface/candle#3836), and without padding the
//! input's, too. Here shifted copies of the input are concatenated and multiplied by the kernel matrix.

use candle_core::{Result, Tensor, bail};
use candle_nn::{Linear, Module};

/// Convolution of `x [b, L, D]` to `[b, L, N]` with `weight [N, D, K]` (torch's layout) and `bias [N]`. Output `t`
/// reads the tokens `t - K / 2` to `t + K / 2`, `dilation` apart; both ends are padded with zeros. `K` must be odd.
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
    // Shapes `[b, L, K D]` and `[N, K D]`.
    let (inputs, kernel) = (Tensor::cat(&shifted, 2)?, weight.transpose(1, 2)?.contiguous()?.reshape((n, k * d))?);
    Linear::new(kernel, bias.cloned()).forward(&inputs)
}
