//! Where an operation puts the gradient of one of its inputs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gradients::GradientSlot;
use super::pieces::{PIECE, fill_unwritten};
use crate::compute::{add, uninit};
use crate::error::{Error, Result};

/// Where the gradient of one input goes.
pub struct Slot {
    len: usize,
    target: Target,
    /// What has arrived so far; a parameter's arrives in its own place, except through [`Slot::open`].
    buffer: Option<Vec<f32>>,
}

pub(super) enum Target {
    Unwanted,
    Buffer,
    Parameter(GradientSlot),
}

impl Slot {
    /// For an input of `len` values, with what other operations have contributed.
    pub(super) fn new(len: usize, target: Target, buffer: Option<Vec<f32>>) -> Self {
        Self { len, target, buffer }
    }

    /// False if nobody asks for this gradient: it should not be computed.
    pub fn wanted(&self) -> bool {
        !matches!(self.target, Target::Unwanted)
    }

    /// Contribute through `f(values, add)`: it adds to the values if `add`, else overwrites every one of them, unread.
    /// Not called if the gradient is not wanted.
    pub fn write(&mut self, f: impl FnOnce(&mut [f32], bool)) {
        if let Target::Parameter(slot) = &self.target {
            slot.write(f);
        } else if let Some((values, add)) = self.open() {
            f(values, add);
        }
    }

    /// As [`Slot::write`] through `f(values, written)`, for an operation that leaves most [`PIECE`]s out, see
    /// [`super::add_to_pieces`].
    pub fn write_pieces(&mut self, f: impl FnOnce(&mut [f32], &mut [bool])) {
        if let Target::Parameter(slot) = &self.target {
            slot.write_pieces(f);
        } else if let Some((values, add)) = self.open() {
            let mut written = vec![add; values.len().div_ceil(PIECE)];
            f(values, &mut written);
            fill_unwritten(values, &written);
        }
    }

    /// As [`Slot::write`], for an operation that writes to several slots at once; none if not wanted. A parameter's
    /// contribution takes one pass more.
    pub fn open(&mut self) -> Option<(&mut [f32], bool)> {
        if !self.wanted() {
            return None;
        }
        let add = self.buffer.is_some();
        let len = self.len;
        // SAFETY: an operation writes every value that does not add, see `Op`.
        Some((self.buffer.get_or_insert_with(|| unsafe { uninit(len) }), add))
    }

    /// Contribute `values`: moved in if they are the first, else added.
    pub fn give(&mut self, values: Vec<f32>) -> Result<()> {
        if values.len() != self.len {
            return Err(Error::internal(format!("a gradient has {} values, expected {}", values.len(), self.len)));
        }
        match (&self.target, &mut self.buffer) {
            (Target::Unwanted, _) => {}
            (Target::Parameter(slot), _) => slot.add(&values),
            (Target::Buffer, Some(sum)) => add(sum, &values),
            (Target::Buffer, none) => *none = Some(values),
        }
        Ok(())
    }

    /// Take out what has arrived.
    pub(super) fn take(&mut self) -> Option<Vec<f32>> {
        self.buffer.take()
    }
}

/// Collects the gradient of an input of a part that is computed again.
#[derive(Clone)]
pub(super) struct Leaf(Arc<Mutex<Option<Vec<f32>>>>);

impl Leaf {
    /// With what other operations have contributed.
    pub fn new(buffer: Option<Vec<f32>>) -> Self {
        Self(Arc::new(Mutex::new(buffer)))
    }

    fn buffer(&self) -> MutexGuard<'_, Option<Vec<f32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> Option<Vec<f32>> {
        self.buffer().take()
    }

    /// Add to what is there.
    pub fn put(&self, values: Vec<f32>) {
        let mut buffer = self.buffer();
        match &mut *buffer {
            Some(sum) => add(sum, &values),
            none => *none = Some(values),
        }
    }
}
