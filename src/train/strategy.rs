//! A strategy: which parameters of a pretrained model are trained, what is added to it, and relative learning rates.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::backbone::{Config, Lora, Owner, Spec, depth};
use crate::error::{Error, Result};

/// What one part of a strategy trains besides the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// All parameters. `layer_decay` is the factor on the learning rate from one layer to the one below (Howard and
    /// Ruder 2018), `embeddings_factor` one more for the embeddings, `head_factor` that of the head.
    FullFineTuning { layer_decay: f64, head_factor: f64, embeddings_factor: f64 },
    /// Nothing.
    LinearProbing {},
    /// The topmost `n` layers and what is above them.
    TopLayers { n: usize },
    /// The layers with these numbers, negative ones counted from the top.
    Layers { layers: Vec<i64> },
    /// All biases (Ben Zaken et al. 2022).
    BitFit {},
    /// Weights and biases of all norms.
    NormTuning {},
    /// Low-rank matrices added to linear layers.
    Lora(Lora),
}

/// A method with its learning rate as a multiple of the run's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyPart {
    pub method: Method,
    pub factor: f64,
}

/// Methods that apply together: a parameter follows the first that trains it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Strategy {
    pub parts: Vec<StrategyPart>,
}

impl From<Method> for Strategy {
    fn from(method: Method) -> Self {
        Self { parts: vec![StrategyPart { method, factor: 1.0 }] }
    }
}

impl Strategy {
    /// # Errors
    /// `Error::Value` for a number out of its range, and methods that do not go together.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Value(format!("strategy: {message}")));
        if self.parts.is_empty() {
            return wrong("it has no parts".into());
        }
        if self.parts.iter().filter(|part| matches!(part.method, Method::Lora(_))).count() > 1 {
            return wrong("two low-rank adapters at once; give one with the targets of both".into());
        }
        for StrategyPart { method, factor } in &self.parts {
            let positive = |name: &str, value: f64| {
                if value > 0.0 && value.is_finite() {
                    return Ok(());
                }
                wrong(format!("{name}={value}: expected more than 0"))
            };
            positive("factor", *factor)?;
            if let Method::FullFineTuning { layer_decay, head_factor, embeddings_factor } = method {
                if !(*layer_decay > 0.0 && *layer_decay <= 1.0) {
                    return wrong(format!("layer_decay={layer_decay}: expected more than 0, at most 1"));
                }
                positive("head_factor", *head_factor)?;
                positive("embeddings_factor", *embeddings_factor)?;
            }
            if let Method::Lora(lora) = method {
                lora.check()?;
            }
        }
        Ok(())
    }

    /// The low-rank adapter to add.
    pub(super) fn lora(&self) -> Option<&Lora> {
        self.parts.iter().find_map(|part| if let Method::Lora(lora) = &part.method { Some(lora) } else { None })
    }

    /// The factor on the learning rate of the head.
    pub(super) fn head_factor(&self) -> f64 {
        let of_part = |part: &StrategyPart| match part.method {
            Method::FullFineTuning { head_factor, .. } => head_factor,
            _ => 1.0,
        };
        self.parts.first().map_or(1.0, of_part)
    }

    /// The factor on the learning rate of a parameter that is not the head's; None if it is frozen.
    pub(super) fn factor(&self, spec: &Spec, config: &Config) -> Option<f64> {
        self.parts.iter().find_map(|part| Some(part.factor * part.method.factor(spec, config)?))
    }
}

impl Method {
    /// Its name in Python.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FullFineTuning { .. } => "FullFineTuning",
            Self::LinearProbing {} => "LinearProbing",
            Self::TopLayers { .. } => "TopLayers",
            Self::Layers { .. } => "Layers",
            Self::BitFit {} => "BitFit",
            Self::NormTuning {} => "NormTuning",
            Self::Lora(lora) => lora.label(),
        }
    }

    /// # Errors
    /// `Error::Value` for layers that this backbone does not have, or that share their parameters with layers that are
    /// to stay as they are.
    pub(super) fn check_layers(&self, config: &Config) -> Result<()> {
        let n = config.num_hidden_layers;
        match self {
            Self::TopLayers { n: top } if *top == 0 || *top > n => {
                return Err(Error::Value(format!(
                    "TopLayers(n={top}): this backbone has {n} layers; expected 1 to {n}, or LinearProbing() for none"
                )));
            }
            Self::Layers { layers } => {
                if let Some(unknown) = layers.iter().find(|layer| resolved(**layer, n).is_none()) {
                    return Err(Error::Value(format!(
                        "Layers({layers:?}): this backbone has no layer {unknown}; its {n} layers are numbered from 0, \
                         and from -1 downwards"
                    )));
                }
            }
            _ => {}
        }
        let Some(chosen) = self.layers(n) else { return Ok(()) };
        let group = |layer: usize| layer * config.layer_groups / n.max(1);
        let torn = |layer: &usize| (0..n).any(|other| group(other) == group(*layer) && !chosen.contains(&other));
        match chosen.iter().find(|layer| torn(layer)) {
            None => Ok(()),
            Some(layer) => Err(Error::Value(format!(
                "{}: layer {layer} shares its parameters with layers that are to stay as they are",
                self.name()
            ))),
        }
    }

    /// The numbers of the layers that it is limited to; None if it is not.
    fn layers(&self, n: usize) -> Option<BTreeSet<usize>> {
        match self {
            Self::TopLayers { n: top } => Some((n - top.min(&n)..n).collect()),
            Self::Layers { layers } => Some(layers.iter().filter_map(|layer| resolved(*layer, n)).collect()),
            _ => None,
        }
    }

    /// The factor on the learning rate of a parameter that is not the head's; None if it does not train it.
    pub(super) fn factor(&self, spec: &Spec, config: &Config) -> Option<f64> {
        let (depth, n) = (depth(&spec.name, config), config.num_hidden_layers);
        let trains = match self {
            Self::Lora(lora) => {
                let is_b = spec.name.ends_with(&format!(".lora_B.{}.weight", lora.name));
                let own = spec.owner == Owner::Adapter(lora.name.as_str().into());
                return own.then_some(if is_b { lora.lora_plus } else { 1.0 });
            }
            _ if spec.owner != Owner::Backbone => false,
            Self::FullFineTuning { layer_decay, embeddings_factor, .. } => {
                // The topmost layer has the learning rate of the head.
                let below = n.saturating_sub(depth) as i32;
                return Some(layer_decay.powi(below) * if depth == 0 { *embeddings_factor } else { 1.0 });
            }
            Self::LinearProbing {} => false,
            Self::TopLayers { n: top } => depth + top > n,
            // Parameters of layers that share them have the depth of the topmost; layers of a group go together.
            Self::Layers { .. } => depth > 0 && self.layers(n).is_some_and(|layers| layers.contains(&(depth - 1))),
            Self::BitFit {} => spec.name.ends_with("bias"),
            Self::NormTuning {} => spec.is_norm,
        };
        trains.then_some(1.0)
    }
}

/// The number of a layer, of which negative ones count from the top.
fn resolved(layer: i64, n: usize) -> Option<usize> {
    let from_bottom = if layer < 0 { layer + n as i64 } else { layer };
    usize::try_from(from_bottom).ok().filter(|layer| *layer < n)
}
