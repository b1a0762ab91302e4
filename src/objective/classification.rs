//! Cross entropy over classes, or sigmoid cross entropy over independent labels.

use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};

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

/// What each of `N` texts is, and how much it counts.
#[derive(Debug, Clone)]
pub struct Targets {
    pub labels: Labels,
    /// `[N]`; none: all count the same.
    pub weights: Option<Vec<f32>>,
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
    /// # Errors
    /// `Error::Value` for numbers out of their range.
    pub fn check(&self) -> Result<()> {
        if self.n_outputs == 0 {
            return Err(Error::Value("n_outputs=0: expected at least 1".into()));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let smoothing = self.label_smoothing;
            return Err(Error::Value(format!("label_smoothing={smoothing}: expected 0 or more, less than 1")));
        }
        match &self.class_weight {
            Some(w) if w.len() != self.n_outputs || w.iter().any(|w| !(*w >= 0.0 && w.is_finite())) => {
                let n = self.n_outputs;
                Err(Error::Value(format!("class_weight: expected {n} finite numbers of 0 or more, got {w:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Check that labels fit `n_texts` and the outputs.
    pub fn check_targets(&self, Targets { labels, .. }: &Targets, n_texts: usize, which: &str) -> Result<()> {
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
    pub fn normalizer(&self, targets: &Targets, examples: &[usize]) -> f64 {
        let of_class = |class: u32| self.class_weight.as_ref().map_or(1.0, |w| f64::from(w[class as usize]));
        let of_text = |i: usize| targets.weights.as_ref().map_or(1.0, |w| f64::from(w[i]));
        let one = |&i: &usize| match &targets.labels {
            Labels::Classes(labels) => of_text(i) * of_class(labels[i]),
            Labels::Indicators(_) => of_text(i) * self.n_outputs as f64,
        };
        examples.iter().map(one).sum()
    }

    /// The summed loss of the texts `examples` with `logits [B, C]`, divided by `normalizer`.
    pub fn loss(&self, logits: &Value, targets: &Targets, examples: &[usize], normalizer: f64) -> Result<Value> {
        let class_weight = self.class_weight.clone();
        let row_weight = targets.weights.as_ref().map(|weights| examples.iter().map(|&i| weights[i]).collect());
        match &targets.labels {
            Labels::Classes(labels) => {
                let labels = examples.iter().map(|&i| Some(labels[i])).collect();
                cross_entropy(
                    logits,
                    CrossEntropy {
                        labels,
                        class_weight,
                        row_weight,
                        label_smoothing: self.label_smoothing as f32,
                        normalizer,
                    },
                )
            }
            Labels::Indicators(values) => {
                let (c, e) = (self.n_outputs, self.label_smoothing as f32);
                let row = |&i: &usize| values[i * c..][..c].iter().map(move |t| t * (1.0 - e) + 0.5 * e);
                let targets = examples.iter().flat_map(row).collect();
                binary_cross_entropy(logits, BinaryCrossEntropy { targets, class_weight, row_weight, normalizer })
            }
        }
    }
}
