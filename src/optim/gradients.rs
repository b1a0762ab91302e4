//! Gradients of one optimiser step, accumulated over micro-batches in one buffer, with their norm and checks.

use rayon::prelude::*;

use super::trainable::Trainable;
use crate::array::Array;
use crate::autograd;
use crate::compute::all_finite;
use crate::compute::simd::vectorised;
use crate::error::Result;

/// One buffer with the gradient of each trainable parameter, in parameter order.
pub struct Gradients(autograd::GradientBuffer);

impl Gradients {
    /// An empty buffer for these parameters.
    pub fn new(trainable: &[Trainable]) -> Result<Self> {
        let sizes: Vec<_> = trainable.iter().map(|p| p.array.elem_count()).collect();
        autograd::GradientBuffer::new(&sizes).map(Self)
    }

    /// Slot that accumulates the gradient of each parameter, in parameter order.
    pub fn slots(&self) -> Vec<autograd::GradientSlot> {
        self.0.slots()
    }

    /// Clears all gradients for the next step.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Calls `f` with the gradients of all parameters, None where none has arrived.
    pub fn read<R>(&self, f: impl FnOnce(&[Option<autograd::Gradient>]) -> R) -> Result<R> {
        self.0.read(f)
    }

    /// Global L2 norm over all parameters, summed in f64 over pieces of fixed size, so that it does not depend on the
    /// number of threads.
    pub fn norm(&self) -> Result<f64> {
        self.read(|gradients| {
            let of_chunk = |chunk: autograd::Gradient| chunk.pieces().flatten().map(sum_of_squares).sum::<f64>();
            let chunks = gradients.iter().flatten().copied().flat_map(|g| g.par_chunks().collect::<Vec<_>>());
            let chunks: Vec<autograd::Gradient> = chunks.collect();
            chunks.into_par_iter().map(of_chunk).collect::<Vec<f64>>().into_iter().sum::<f64>().sqrt()
        })
    }

    /// Messages for parameters whose gradient is missing or not finite.
    pub fn audit(&self, trainable: &[Trainable]) -> Result<Vec<String>> {
        let problem = |gradient: Option<autograd::Gradient>| match gradient {
            None => Some("no gradient"),
            Some(gradient) if !gradient.par_chunks().all(|chunk| chunk.pieces().flatten().all(all_finite)) => {
                Some("not finite")
            }
            Some(_) => None,
        };
        self.read(|gradients| {
            let rows = gradients.iter().zip(trainable);
            rows.filter_map(|(gradient, p)| Some(format!("{}: {}", p.name, problem(*gradient)?))).collect()
        })
    }
}

/// True if every value is finite.
pub fn is_finite(array: &Array) -> Result<bool> {
    Ok(all_finite(&array.values()?))
}

vectorised! {
    fn sum_of_squares(values: &[f32]) -> f64 {
        const LANES: usize = 16;
        let mut lanes = [0f64; LANES];
        let blocks = values.chunks_exact(LANES);
        let rest: f64 = blocks.remainder().iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        for block in blocks {
            for (lane, &g) in lanes.iter_mut().zip(block) {
                *lane += f64::from(g) * f64::from(g);
            }
        }
        rest + lanes.iter().sum::<f64>()
    }
}
