//! AdamW (Loshchilov and Hutter 2019) in one parallel pass over each parameter, as `torch.optim.AdamW` (2.x) computes it:
//! `p -= lr * wd * p`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)`.

use rayon::prelude::*;

use super::gradients::Gradients;
use super::trainable::Trainable;
use crate::compute::simd::vectorised;
use crate::compute::{CHUNK, overwrite};
use crate::error::{Error, Result};

/// The optimiser with its state.
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    steps: i32,
    /// First and second moments, the parameters one after another.
    m: Vec<f32>,
    v: Vec<f32>,
}

impl AdamW {
    /// For these parameters, moments zero.
    pub fn new(trainable: &[Trainable], beta1: f64, beta2: f64, epsilon: f64) -> Self {
        let n = trainable.iter().map(|p| p.tensor.elem_count()).sum();
        Self { beta1, beta2, epsilon, steps: 0, m: vec![0.0; n], v: vec![0.0; n] }
    }

    /// How many steps were taken.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// First and second moments, the parameters one after another.
    pub fn moments(&self) -> [&[f32]; 2] {
        [&self.m, &self.v]
    }

    /// Go on from moments after `steps` steps.
    pub fn restore(&mut self, moments: Vec<Vec<f32>>, steps: usize) -> Result<()> {
        let Ok([m, v]) = <[Vec<f32>; 2]>::try_from(moments) else {
            return Err(Error::internal("AdamW has two moments"));
        };
        if [m.len(), v.len()] != [self.m.len(), self.v.len()] {
            let (got, expected) = (m.len(), self.m.len());
            return Err(Error::Training(format!("moments are of {got} values, expected {expected}")));
        }
        (self.m, self.v) = (m, v);
        self.steps = i32::try_from(steps).map_err(|_| Error::Training(format!("{steps} steps are too many")))?;
        Ok(())
    }

    /// One step with gradients scaled by `gradient_scale` and learning rates by `rate_factor`.
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
        let (mut m, mut v) = (self.m.as_mut_slice(), self.v.as_mut_slice());
        gradients.read(|gradients| {
            for (parameter, gradient) in trainable.iter().zip(gradients) {
                let n = parameter.tensor.elem_count();
                let (m, v) = (m.split_off_mut(..n), v.split_off_mut(..n));
                let (Some(g), Some(m), Some(v)) = (gradient, m, v) else { continue };
                let rate = parameter.learning_rate * rate_factor;
                let factors = Factors {
                    beta: [self.beta1 as f32, self.beta2 as f32],
                    // 1 - 0.999 taken in f32 would be off by 1e-5.
                    one_minus_beta: [(1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32],
                    gradient: gradient_scale as f32,
                    keep: (1.0 - rate * parameter.weight_decay) as f32,
                    rate: (rate / correction1) as f32,
                    root: (1.0 / correction2.sqrt()) as f32,
                    epsilon: self.epsilon as f32,
                };
                overwrite(&parameter.tensor, |p| {
                    let chunks = p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
                    chunks.zip(g.par_chunks(CHUNK)).for_each(|(((p, m), v), g)| {
                        update(&factors, p, m, v, g);
                    });
                })?;
            }
            Ok(())
        })
    }
}

/// What one step multiplies by.
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
