//! Classification head for texts or words: cross entropy over classes, or sigmoid cross entropy over independent
//! labels.

use serde_json::{Map, Value as Json, json};

use super::layers::HeadLayers;
use super::targets::{TargetKind, Targets, Truth};
use super::task::Head;
use crate::autograd::Var;
use crate::backbone::Level;
use crate::error::{Error, Result};
use crate::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};

/// Classification head: a logit for each class of a text or word, and its loss.
#[derive(Debug, Clone)]
pub struct Classification {
    pub level: Level,
    pub n_outputs: usize,
    /// If true, each output is an independent yes/no label; else exactly one class is true.
    pub multi_label: bool,
    /// Loss weight of each output, `[C]`.
    pub class_weight: Option<Vec<f32>>,
    /// Label smoothing, in [0, 1).
    pub label_smoothing: f64,
}

impl Classification {
    /// Head with `n_outputs` classes of equal weight, without label smoothing.
    pub fn new(level: Level, n_outputs: usize, multi_label: bool) -> Self {
        Self { level, n_outputs, multi_label, class_weight: None, label_smoothing: 0.0 }
    }

    /// The summed loss of `logits [B, C]`, divided by `normalizer`.
    pub fn loss_of_logits(&self, logits: &Var, targets: &Targets, normalizer: f64) -> Result<Var> {
        let (class_weight, row_weight) = (self.class_weight.clone(), targets.weights.clone());
        let label_smoothing = self.label_smoothing as f32;
        match &targets.truth {
            Truth::Classes(classes) | Truth::Tags { classes, .. } => {
                let labels = classes.iter().map(|&class| Some(class)).collect();
                cross_entropy(logits, CrossEntropy { labels, class_weight, row_weight, label_smoothing, normalizer })
            }
            Truth::Indicators(values) => {
                let targets = values.iter().map(|t| t * (1.0 - label_smoothing) + 0.5 * label_smoothing).collect();
                binary_cross_entropy(logits, BinaryCrossEntropy { targets, class_weight, row_weight, normalizer })
            }
            other => Err(Error::internal(format!("classes are learnt from, got {:?}", other.kind()))),
        }
    }
}

impl Head for Classification {
    fn level(&self) -> Level {
        self.level
    }

    fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    fn learns_from(&self) -> TargetKind {
        match (self.level, self.multi_label) {
            (Level::Texts, true) => TargetKind::Indicators,
            (Level::Texts, false) => TargetKind::Classes,
            _ => TargetKind::Tags,
        }
    }

    fn check(&self) -> Result<()> {
        if self.n_outputs == 0 {
            return Err(Error::Value("n_outputs=0: expected at least 1".into()));
        }
        if self.multi_label && self.level != Level::Texts {
            return Err(Error::Value("multi_label: a word has one tag; texts alone have any number of labels".into()));
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

    fn normalizer(&self, targets: &Targets) -> f64 {
        let of_class = |class: u32| self.class_weight.as_ref().map_or(1.0, |w| f64::from(w[class as usize]));
        let of_row = |i: usize| targets.weights.as_ref().map_or(1.0, |w| f64::from(w[i]));
        match &targets.truth {
            Truth::Classes(classes) | Truth::Tags { classes, .. } => {
                classes.iter().enumerate().map(|(i, &class)| of_row(i) * of_class(class)).sum()
            }
            truth => (0..truth.len(self.n_outputs)).map(|i| of_row(i) * self.n_outputs as f64).sum(),
        }
    }

    fn loss(&self, layers: &HeadLayers, inputs: &Var, targets: &Targets, normalizer: f64) -> Result<Var> {
        self.loss_of_logits(&layers.outputs(inputs)?, targets, normalizer)
    }

    fn configure(&self, names: &[String], config: &mut Map<String, Json>) {
        name_outputs(names, config);
        let problem = if self.multi_label { "multi_label_classification" } else { "single_label_classification" };
        match self.level {
            Level::Texts => config.insert("problem_type".into(), problem.into()),
            _ => config.remove("problem_type"),
        };
    }

    fn identity(&self) -> Map<String, Json> {
        let settings = [("class_weight", json!(self.class_weight)), ("label_smoothing", json!(self.label_smoothing))];
        settings.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// Write the names of the outputs into `config.json` as `id2label` and `label2id`.
pub(super) fn name_outputs(names: &[String], config: &mut Map<String, Json>) {
    let id2label: Map<String, Json> = names.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
    let label2id: Map<String, Json> = names.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
    config.insert("id2label".into(), id2label.into());
    config.insert("label2id".into(), label2id.into());
    config.remove("num_labels");
}
