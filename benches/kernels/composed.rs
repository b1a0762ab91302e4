//! What the kernels compute, composed of candle's operations. Packed sequences go one after the other, so that nothing is spent
//! on padding.

use candle_core::{D, Result, Tensor};

use super::{EPS, HEADS, WIDTH};

pub fn norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let std = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?;
    centred.broadcast_div(&std)?.broadcast_mul(weight)?.broadcast_add(bias)
}

pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// Attention of heads to all tokens of their sequence.
pub fn packed_attention(args: &[Tensor], starts: &[u32]) -> Result<Tensor> {
    let size = WIDTH / HEADS;
    let sequence = |w: &[u32]| {
        let (first, len) = (w[0] as usize, (w[1] - w[0]) as usize);
        let heads = |x: &Tensor| x.narrow(0, first, len)?.reshape((len, HEADS, size))?.transpose(0, 1)?.contiguous();
        let (q, k, v) = (heads(&args[0])?, heads(&args[1])?, heads(&args[2])?);
        let scores = (q.matmul(&k.t()?)? / (size as f64).sqrt())?;
        softmax(&scores)?.matmul(&v)?.transpose(0, 1)?.reshape((len, WIDTH))
    };
    Tensor::cat(&starts.windows(2).map(sequence).collect::<Result<Vec<_>>>()?, 0)
}

/// Each pair of values `(j, j + size / 2)` of each head turned by the angle of its position: `cos, sin [T, size / 2]`.
pub fn rotated(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (tokens, size) = (x.dim(0)?, WIDTH / HEADS);
    let heads = x.reshape((tokens, HEADS, size))?;
    let (first, second) = (heads.narrow(2, 0, size / 2)?, heads.narrow(2, size / 2, size / 2)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let left = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let right = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Tensor::cat(&[left, right], 2)?.reshape((tokens, WIDTH))
}

/// The mean of each sequence, `[B, D]`.
pub fn means(x: &Tensor, starts: &[u32]) -> Result<Tensor> {
    let mean = |w: &[u32]| x.narrow(0, w[0] as usize, (w[1] - w[0]) as usize)?.mean_keepdim(0);
    Tensor::cat(&starts.windows(2).map(mean).collect::<Result<Vec<_>>>()?, 0)
}

/// XLNet's attention of sequences of one segment: `q, k, v, r, word_bias, distance_bias, segment_bias, segments`, where the rows
/// of `r` are distances from `farthest` down.
pub fn packed_relative_attention(args: &[Tensor], starts: &[u32], farthest: usize) -> Result<Tensor> {
    let size = WIDTH / HEADS;
    let sequence = |w: &[u32]| {
        let (first, len) = (w[0] as usize, (w[1] - w[0]) as usize);
        let rows = |x: &Tensor| x.narrow(0, first, len)?.reshape((len, HEADS, size));
        let heads = |x: Tensor| x.transpose(0, 1)?.contiguous();
        let (q, k, v) = (rows(&args[0])?, heads(rows(&args[1])?)?, heads(rows(&args[2])?)?);
        let r = heads(args[3].reshape(((), HEADS, size))?)?;
        let with = |bias: &Tensor| heads(q.broadcast_add(&bias.unsqueeze(0)?)?);
        // The query at i meets the key at j at the distance i - j.
        let at: Vec<u32> = (0..len * len).map(|p| (farthest + p % len - p / len) as u32).collect();
        let at = Tensor::from_vec(at, (1, len, len), q.device())?.expand((HEADS, len, len))?.contiguous()?;
        let by_distance = with(&args[5])?.matmul(&r.t()?)?.gather(&at, 2)?;
        let same = args[7].narrow(0, 0, 1)?.reshape((HEADS, size, 1))?;
        let scores = (with(&args[4])?.matmul(&k.t()?)? + by_distance)?;
        let scores = (scores.broadcast_add(&with(&args[6])?.matmul(&same)?)? / (size as f64).sqrt())?;
        softmax(&scores)?.matmul(&v)?.transpose(0, 1)?.reshape((len, WIDTH))
    };
    Tensor::cat(&starts.windows(2).map(sequence).collect::<Result<Vec<_>>>()?, 0)
}
