//! Sigmoid cross entropy over independent outputs, as `torch.nn.functional.binary_cross_entropy_with_logits` (2.x).
//!
//! For logits `z [B, C]` and targets `t` in [0, 1]: `w_c (max(z, 0) - z t + log(1 + exp(-|z|)))`, summed and divided by
//! `normalizer` (torch: `B * C`). Backward: `dz = w_c (sigmoid(z) - t) / normalizer`.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::access::{f32_slice, tensor, with_f32};
use super::math;
use super::parallel::{CHUNK, for_chunks};

/// What the logits are held against.
#[derive(Debug, Clone)]
pub struct BinaryCrossEntropy {
    /// `[B, C]`, row-major, each in [0, 1].
    pub targets: Vec<f32>,
    /// A weight for each output.
    pub class_weight: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: f64,
}

/// The loss, a scalar, of `logits [B, C]`.
pub fn binary_cross_entropy(logits: &Tensor, target: BinaryCrossEntropy) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(target)
}

impl BinaryCrossEntropy {
    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        if self.targets.len() != b * c || self.class_weight.as_ref().is_some_and(|w| w.len() != c) {
            bail!("binary cross entropy: got logits {shape:?} and {} targets", self.targets.len())
        }
        Ok(c)
    }

    #[inline(always)]
    fn weight(&self, output: usize) -> f32 {
        self.class_weight.as_ref().map_or(1.0, |w| w[output])
    }
}

impl CustomOp1 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary-cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let c = self.check(layout.shape())?;
        let logits = f32_slice("binary-cross-entropy", logits, layout)?;
        let total: f64 = logits
            .iter()
            .zip(&self.targets)
            .enumerate()
            .map(|(i, (&z, &t))| {
                f64::from(self.weight(i % c)) * f64::from(z.max(0.0) - z * t + (-z.abs()).exp().ln_1p())
            })
            .sum();
        Ok((CpuStorage::F32(vec![(total / self.normalizer) as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = self.check(logits.shape())?;
        let scale = (f64::from(grad.to_scalar::<f32>()?) / self.normalizer) as f32;
        with_f32(logits, |z| {
            let mut dz = vec![0f32; z.len()];
            for_chunks(&mut dz, CHUNK, |start, dz| {
                for (i, dz) in dz.iter_mut().enumerate() {
                    let at = start + i;
                    *dz = scale * self.weight(at % c) * (1.0 / (1.0 + math::exp(-z[at])) - self.targets[at]);
                }
            });
            tensor(dz, logits.shape()).map(Some)
        })
    }
}
