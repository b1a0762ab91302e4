//! The gradients of one optimiser step: collected over its batches, measured, checked.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use rayon::prelude::*;

use super::trainable::Trainable;
use crate::error::Result;
use crate::kernels::{CHUNK, for_chunks, overwrite, with_f32};

/// A gradient for each trainable parameter, in their order; none where nothing arrived.
#[derive(Default)]
pub struct Gradients(pub Vec<Option<Tensor>>);

impl Gradients {
    /// Add the gradients of one more batch.
    pub fn add(&mut self, store: &GradStore, trainable: &[Trainable]) -> Result<()> {
        self.0.resize_with(trainable.len(), || None);
        for (sum, parameter) in self.0.iter_mut().zip(trainable) {
            let Some(gradient) = store.get(parameter.var.as_tensor()) else { continue };
            match sum {
                Some(sum) => with_f32(gradient, |g| {
                    overwrite(sum, |sum| {
                        for_chunks(sum, CHUNK, |i, sum| sum.iter_mut().zip(&g[i..]).for_each(|(s, g)| *s += g));
                    })
                })?,
                None => *sum = Some(gradient.clone()),
            }
        }
        Ok(())
    }

    /// The Euclidean norm over all parameters.
    pub fn norm(&self) -> Result<f64> {
        self.0.iter().flatten().try_fold(0.0, |sum, g| Ok(sum + sum_of_squares(g)?)).map(f64::sqrt)
    }

    /// Parameters that received no gradient, or one that is not finite, and which of the two.
    pub fn audit(&self, trainable: &[Trainable]) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for (gradient, parameter) in self.0.iter().zip(trainable) {
            match gradient {
                None => problems.push(format!("{}: no gradient", parameter.name)),
                Some(g) if !is_finite(g)? => problems.push(format!("{}: not finite", parameter.name)),
                Some(_) => {}
            }
        }
        Ok(problems)
    }
}

/// True if every value is finite.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(with_f32(tensor, |values| Ok(values.par_chunks(CHUNK).all(|chunk| chunk.iter().all(|x| x.is_finite()))))?)
}

/// In f64, in pieces of fixed size: the same whatever the number of threads.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    Ok(with_f32(tensor, |values| {
        let square = |chunk: &[f32]| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        Ok(values.par_chunks(CHUNK).map(square).collect::<Vec<_>>().into_iter().sum())
    })?)
}
