//! Mode of a forward pass: training or inference, the source of dropout masks, and whether activations are kept.

use crate::ops::dropout::Dropout;
use crate::rng::Key;

/// The mode of a forward pass, or of a part of it. It has no counter, so a part that runs again draws the same masks.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    key: Option<Key>,
    recompute: bool,
}

impl Mode {
    /// Dropout off.
    pub fn inference() -> Self {
        Self { key: None, recompute: false }
    }

    /// Dropout on; `key` must be unique to this pass.
    pub fn training(key: Key) -> Self {
        Self { key: Some(key), recompute: false }
    }

    /// Activation checkpointing: layers keep only their inputs and are recomputed in the backward pass.
    #[must_use]
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// True if layers should keep only their inputs.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }

    /// The mode of layer `i`, with masks of its own.
    #[must_use]
    pub fn layer(self, i: usize) -> Self {
        Self { key: self.key.map(|key| key.named("layer").child(i as u64)), ..self }
    }

    /// The mode of another model in the same pass, with masks of its own.
    #[must_use]
    pub fn part(self, name: &str) -> Self {
        Self { key: self.key.map(|key| key.named(name)), ..self }
    }

    /// The dropout at the named place of this pass or layer, or None if it is off; each place needs a unique name.
    pub fn dropout(&self, place: &str, p: f64) -> Option<Dropout> {
        self.key.filter(|_| p > 0.0).map(|key| Dropout::new(p, key.named(place)))
    }
}
