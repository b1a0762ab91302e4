//! AdamW (Loshchilov and Hutter 2019) in one parallel pass over each parameter, as `torch.optim.AdamW` (2.x):
//! `p -= lr * wd * p`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)`.

use rayon::prelude::*;

use super::gradients::Gradients;
use super::trainable::Trainable;
use crate::array::Array;
use crate::autograd::PIECE;
use crate::compute::CHUNK;
use crate::compute::simd::vectorised;
use crate::error::{Error, Result};

/// AdamW with its state.
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    steps: i32,
    /// First moments of all parameters, concatenated; `v` holds the second moments.
    m: Array,
    v: Array,
    /// For each [`PIECE`] of each parameter: whether a gradient has ever arrived. Most tokens of a vocabulary do not
    /// occur in a few hundred texts, and a step only applies weight decay to their embeddings.
    moved: Vec<bool>,
}

/// Gradient of a piece that received none.
const ZEROS: [f32; PIECE] = [0.0; PIECE];

impl AdamW {
    /// An optimiser for these parameters with zero moments.
    pub fn new(trainable: &[Trainable], beta1: f64, beta2: f64, epsilon: f64) -> Result<Self> {
        let n = trainable.iter().map(|p| p.array.elem_count()).sum();
        let pieces = trainable.iter().map(|p| p.array.elem_count().div_ceil(PIECE)).sum();
        let zeros = || Array::new(vec![0.0; n], n);
        Ok(Self { beta1, beta2, epsilon, steps: 0, m: zeros()?, v: zeros()?, moved: vec![false; pieces] })
    }

    /// Number of steps taken.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// First and second moments of all parameters, concatenated, `[n]` each.
    pub fn moments(&self) -> [&Array; 2] {
        [&self.m, &self.v]
    }

    /// Restores the moments after `steps` steps.
    pub fn restore(&mut self, [m, v]: [Array; 2], steps: usize) -> Result<()> {
        for (found, own) in [(&m, &self.m), (&v, &self.v)] {
            if found.dims() != own.dims() {
                let (got, expected) = (found.elem_count(), own.elem_count());
                return Err(Error::Training(format!("moments are of {got} values, expected {expected}")));
            }
        }
        (self.m, self.v) = (m, v);
        self.moved.fill(true);
        self.steps = i32::try_from(steps).map_err(|_| Error::Training(format!("{steps} steps are too many")))?;
        Ok(())
    }

    /// Takes one step with gradients multiplied by `gradient_scale` and learning rates by `rate_factor`.
    pub fn step(
        &mut self,
        trainable: &[Trainable],
        gradients: &Gradients,
        gradient_scale: f64,
        rate_factor: f64,
    ) -> Result<()> {
        self.steps += 1;
        let correction1 = 1.0 - self.beta1.powi(self.steps);
        let correction2 = 1.0 - self.beta2.powi(self.steps);
        let (mut m, mut v, mut moved) = (self.m.values_mut()?, self.v.values_mut()?, self.moved.as_mut_slice());
        gradients.read(|gradients| {
            for (parameter, gradient) in trainable.iter().zip(gradients) {
                let n = parameter.array.elem_count();
                let (m, v, moved) =
                    (m.split_off_mut(..n), v.split_off_mut(..n), moved.split_off_mut(..n.div_ceil(PIECE)));
                let (Some(g), Some(m), Some(v), Some(moved)) = (gradient, m, v, moved) else { continue };
                let rate = parameter.learning_rate * rate_factor;
                let factors = Factors {
                    beta: [self.beta1 as f32, self.beta2 as f32],
                    // Computed in f64: `1 - 0.999` in f32 would be off by 1e-5.
                    one_minus_beta: [(1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32],
                    gradient: gradient_scale as f32,
                    keep: (1.0 - rate * parameter.weight_decay) as f32,
                    rate: (rate / correction1) as f32,
                    root: (1.0 / correction2.sqrt()) as f32,
                    epsilon: self.epsilon as f32,
                };
                parameter.array.overwrite(|p| {
                    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
                    let chunks = p.par_chunks_mut(CHUNK).zip(moments).zip(moved.par_chunks_mut(CHUNK / PIECE));
                    chunks.zip(g.par_chunks()).for_each(|(((p, (m, v)), moved), g)| {
                        let moments = m.chunks_mut(PIECE).zip(v.chunks_mut(PIECE));
                        let pieces = p.chunks_mut(PIECE).zip(moments).zip(moved).zip(g.pieces());
                        for (((p, (m, v)), moved), g) in pieces {
                            *moved = *moved || g.is_some();
                            if *moved {
                                update(&factors, p, m, v, g.unwrap_or(&ZEROS));
                            } else {
                                decay(factors.keep, p);
                            }
                        }
                    });
                })?;
            }
            Ok(())
        })?
    }
}

/// Constant factors of one step.
struct Factors {
    beta: [f32; 2],
    one_minus_beta: [f32; 2],
    gradient: f32,
    keep: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

vectorised! {
    fn update(f: &Factors, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * f.gradient;
            *m = f.beta[0] * *m + f.one_minus_beta[0] * g;
            *v = f.beta[1] * *v + f.one_minus_beta[1] * g * g;
            *p = *p * f.keep - f.rate * *m / (v.sqrt() * f.root + f.epsilon);
        }
    }
}

vectorised! {
    fn decay(keep: f32, p: &mut [f32]) {
        for p in p {
            *p *= keep;
        }
    }
}
