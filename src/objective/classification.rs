//! Cross entropy over classes, or sigmoid cross entropy over independent labels.

use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::kernels::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use crate::kernels::cross_entropy::{CrossEntropy, cross_entropy};

/// What each of `N` texts is.
#[derive(Debug, Clone)]
pub enum Labels {
    /// One class each, `[N]`.
    Classes(Vec<u32>),
    /// 0 or 1 for each output, row-major `[N, C]`.
    Indicators(Vec<f32>),
}

impl Labels {
    /// The number of texts.
    pub fn len(&self, n_outputs: usize) -> usize {
        match self {
            Self::Classes(labels) => labels.len(),
            Self::Indicators(values) => values.len() / n_outputs.max(1),
        }
    }
}

/// The loss of classification.
#[derive(Debug, Clone)]
pub struct Classification {
    pub n_outputs: usize,
    /// A weight for each output.
    pub class_weight: Option<Vec<f32>>,
    /// In [0, 1).
    pub label_smoothing: f64,
}

impl Classification {
    /// Check that labels fit `n_texts` and the outputs.
    pub fn check(&self, labels: &Labels, n_texts: usize, which: &str) -> Result<()> {
        let n = labels.len(self.n_outputs);
        if n != n_texts {
            return Err(Error::Value(format!("{which}: got {n} labels for {n_texts} texts")));
        }
        let out_of_range = match labels {
            Labels::Classes(labels) => labels.iter().position(|&y| y as usize >= self.n_outputs),
            Labels::Indicators(values) => values.iter().position(|t| !(0.0..=1.0).contains(t)),
        };
        match out_of_range {
            Some(i) => Err(Error::Value(format!("{which}: label {i} is out of range for {} outputs", self.n_outputs))),
            None => Ok(()),
        }
    }

    /// What the losses of these texts are divided by, together, to be a mean.
    pub fn normalizer(&self, labels: &Labels, examples: &[usize]) -> f64 {
        match labels {
            Labels::Classes(labels) => {
                let labels: Vec<_> = examples.iter().map(|&i| Some(labels[i])).collect();
                CrossEntropy::weight_sum(&labels, self.class_weight.as_deref())
            }
            Labels::Indicators(_) => (examples.len() * self.n_outputs) as f64,
        }
    }

    /// The summed loss of the texts `examples` with `logits [B, C]`, divided by `normalizer`.
    pub fn loss(&self, logits: &Value, labels: &Labels, examples: &[usize], normalizer: f64) -> Result<Value> {
        let class_weight = self.class_weight.clone();
        match labels {
            Labels::Classes(labels) => {
                let labels = examples.iter().map(|&i| Some(labels[i])).collect();
                cross_entropy(
                    logits,
                    CrossEntropy { labels, class_weight, label_smoothing: self.label_smoothing as f32, normalizer },
                )
            }
            Labels::Indicators(values) => {
                let (c, e) = (self.n_outputs, self.label_smoothing as f32);
                let row = |&i: &usize| values[i * c..][..c].iter().map(move |t| t * (1.0 - e) + 0.5 * e);
                let targets = examples.iter().flat_map(row).collect();
                binary_cross_entropy(logits, BinaryCrossEntropy { targets, class_weight, normalizer })
            }
        }
    }
}
