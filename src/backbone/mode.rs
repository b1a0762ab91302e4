//! Whether a forward pass trains, and where its dropout masks come from.

use std::cell::Cell;

use crate::kernels::dropout::Dropout;
use crate::rng::Key;

/// The mode of one forward pass.
pub struct Mode {
    key: Option<Key>,
    calls: Cell<u64>,
}

impl Mode {
    /// Dropout off.
    pub fn inference() -> Self {
        Self { key: None, calls: Cell::new(0) }
    }

    /// Dropout on; `key` is this pass's own.
    pub fn training(key: Key) -> Self {
        Self { key: Some(key), calls: Cell::new(0) }
    }

    /// The next dropout of this pass, if it drops at all.
    pub fn dropout(&self, p: f64) -> Option<Dropout> {
        let call = self.calls.replace(self.calls.get() + 1);
        self.key.filter(|_| p > 0.0).map(|key| Dropout::new(p, key.child(call)))
    }
}
