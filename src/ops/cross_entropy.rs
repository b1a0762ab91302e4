//! Softmax cross entropy with weights of classes and of rows, label smoothing and ignored rows, as
//! `torch.nn.functional.cross_entropy` (2.x) defines it.
//!
//! For logits `z [B, C]`, labels `y`, weights `w`, smoothing `e` and `q = log softmax(z)`, a row's loss is
//! `-(1 - e) w_y q_y - e / C sum_c w_c q_c`, times the weight of the row, which torch does not have; the result is the sum
//! over rows with a label, divided by `normalizer` (torch: the sum of `w_y`). Backward: `dz_c = (softmax_c * m - (1 - e) w_y [c = y] - e w_c / C) / normalizer`, with `m` the
//! sum of the subtracted weights.

use candle_core::Shape;

use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{for_chunks, put};
use crate::error::{Error, Result};

/// What the logits are held against.
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    /// A class for each row, or none: the row is ignored.
    pub labels: Vec<Option<u32>>,
    /// A weight for each class.
    pub class_weight: Option<Vec<f32>>,
    /// A weight for each row.
    pub row_weight: Option<Vec<f32>>,
    /// In [0, 1).
    pub label_smoothing: f32,
    /// What the sum over rows is divided by.
    pub normalizer: f64,
}

/// The loss, a scalar, of `logits [B, C]`.
pub fn cross_entropy(logits: &Value, target: CrossEntropy) -> Result<Value> {
    let loss = target.loss(logits.array())?;
    Ok(Value::computed(Array::new(vec![loss], ())?, &[logits], target))
}

impl CrossEntropy {
    fn weight(&self, class: usize) -> f32 {
        self.class_weight.as_ref().map_or(1.0, |w| w[class])
    }

    fn row_weight(&self, row: usize) -> f32 {
        self.row_weight.as_ref().map_or(1.0, |w| w[row])
    }

    fn check(&self, shape: &Shape) -> Result<usize> {
        let (b, c) = shape.dims2()?;
        let bad = self.labels.iter().flatten().find(|y| **y as usize >= c);
        let unfit = |weight: &Option<Vec<f32>>, n| weight.as_ref().is_some_and(|w| w.len() != n);
        if b != self.labels.len() || bad.is_some() || unfit(&self.class_weight, c) || unfit(&self.row_weight, b) {
            return Err(Error::internal(format!(
                "cross entropy: got logits {shape:?}, {} labels, {:?} class weights, label {bad:?}",
                self.labels.len(),
                self.class_weight.as_ref().map(Vec::len)
            )));
        }
        Ok(c)
    }

    fn loss(&self, logits: &Array) -> Result<f32> {
        let c = self.check(logits.shape())?;
        let (smooth, mut total) = (f64::from(self.label_smoothing), 0f64);
        for (i, (row, label)) in logits.values()?.chunks_exact(c.max(1)).zip(&self.labels).enumerate() {
            let Some(y) = *label else { continue };
            let (lse, weight) = (log_sum_exp(row), f64::from(self.row_weight(i)));
            total += weight * (1.0 - smooth) * f64::from(self.weight(y as usize)) * f64::from(lse - row[y as usize]);
            if smooth > 0.0 {
                let all: f64 =
                    row.iter().enumerate().map(|(c, z)| f64::from(self.weight(c)) * f64::from(lse - z)).sum();
                total += weight * smooth / c as f64 * all;
            }
        }
        Ok((total / self.normalizer) as f32)
    }
}

vectorised! {
    fn log_sum_exp(row: &[f32]) -> f32 {
        let max = math::max(row, |x| x);
        max + math::sum(row, |z| math::exp_small(z - max)).ln()
    }
}

vectorised! {
    /// `out (+)= scale * exp(row - lse)`.
    fn scaled_softmax(row: &[f32], lse: f32, scale: f32, out: &mut [f32], add: bool) {
        out.iter_mut().zip(row).for_each(|(out, z)| put(out, scale * math::exp_small(z - lse), add));
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross entropy"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let c = self.check(inputs[0].shape())?;
        let scale = (f64::from(gradient.values()?[0]) / self.normalizer) as f32;
        let mean_weight = (0..c).map(|c| self.weight(c)).sum::<f32>() / c.max(1) as f32;
        let z: &[f32] = &inputs[0].values()?;
        into[0].write(|dz, add| {
            for_chunks(dz, c, |start, dz| {
                let Some(y) = self.labels.get(start / c.max(1)).copied().flatten() else {
                    if !add {
                        dz.fill(0.0);
                    }
                    return;
                };
                let (row, y) = (&z[start..start + dz.len()], y as usize);
                let scale = scale * self.row_weight(start / c);
                let hard = (1.0 - self.label_smoothing) * self.weight(y);
                let mass = hard + self.label_smoothing * mean_weight;
                scaled_softmax(row, log_sum_exp(row), scale * mass, dz, add);
                if self.label_smoothing > 0.0 {
                    let soft = scale * self.label_smoothing / c as f32;
                    dz.iter_mut().enumerate().for_each(|(class, dz)| *dz -= soft * self.weight(class));
                }
                dz[y] -= scale * hard;
            });
        })
    }
}
