//! Slots: the destination of the gradient of an operation's input.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Shape;

use super::gradients::GradientSlot;
use super::pieces::{PIECE, fill_unwritten};
use crate::array::Array;
use crate::compute::{add, uninit};
use crate::error::{Error, Result};

/// The destination of the gradient of one input.
pub struct Slot {
    shape: Shape,
    target: Target,
    /// The sum of contributions so far. Those of a parameter go to its own buffer, except through [`Slot::open`].
    buffer: Option<Array>,
}

pub(super) enum Target {
    Unwanted,
    Buffer,
    Parameter(GradientSlot),
}

impl Slot {
    /// A slot for an input of this shape; `buffer` holds the contributions of other operations.
    pub(super) fn new(shape: Shape, target: Target, buffer: Option<Array>) -> Self {
        Self { shape, target, buffer }
    }

    /// False if the gradient is not needed and should not be computed.
    pub fn wanted(&self) -> bool {
        !matches!(self.target, Target::Unwanted)
    }

    /// Contribute through `f(values, add)`: it adds to the values if `add`; otherwise it overwrites all of them without
    /// reading them. Not called if the gradient is not wanted.
    pub fn write(&mut self, f: impl FnOnce(&mut [f32], bool)) -> Result<()> {
        if let Target::Parameter(slot) = &self.target {
            slot.write(f)?;
        } else if let Some((values, add)) = self.open()? {
            f(values, add);
        }
        Ok(())
    }

    /// As [`Slot::write`] through `f(values, written)`, for an operation that leaves out most [`PIECE`]s, see
    /// [`super::add_to_pieces`].
    pub fn write_pieces(&mut self, f: impl FnOnce(&mut [f32], &mut [bool])) -> Result<()> {
        if let Target::Parameter(slot) = &self.target {
            slot.write_pieces(f)?;
        } else if let Some((values, add)) = self.open()? {
            let mut written = vec![add; values.len().div_ceil(PIECE)];
            f(values, &mut written);
            fill_unwritten(values, &written);
        }
        Ok(())
    }

    /// As [`Slot::write`], for an operation that writes to several slots at once; None if not wanted. For a parameter
    /// this costs one more pass over its values.
    pub fn open(&mut self) -> Result<Option<(&mut [f32], bool)>> {
        if !self.wanted() {
            return Ok(None);
        }
        let add = self.buffer.is_some();
        if !add {
            // SAFETY: an operation writes every value that it does not add to, see `Op`.
            let values = unsafe { uninit(self.shape.elem_count()) };
            self.buffer = Some(Array::new(values, self.shape.clone())?);
        }
        let buffer = self.buffer.as_mut().map(Array::values_mut).transpose()?;
        Ok(buffer.map(|values| (values, add)))
    }

    /// Contribute a gradient of the input's shape: the first is moved in, later ones are added.
    pub fn give(&mut self, gradient: Array) -> Result<()> {
        if *gradient.shape() != self.shape {
            let (got, expected) = (gradient.shape(), &self.shape);
            return Err(Error::internal(format!("a gradient has shape {got:?}, expected {expected:?}")));
        }
        match (&self.target, &mut self.buffer) {
            (Target::Unwanted, _) => {}
            (Target::Parameter(slot), _) => slot.add(&gradient.values()?)?,
            (Target::Buffer, Some(sum)) => add(sum.values_mut()?, &gradient.values()?),
            (Target::Buffer, none) => *none = Some(gradient),
        }
        Ok(())
    }

    /// Take out the contributions so far.
    pub(super) fn take(&mut self) -> Option<Array> {
        self.buffer.take()
    }
}

/// Collects the gradient of an input of a checkpointed part, which is recomputed.
#[derive(Clone)]
pub(super) struct Leaf(Arc<Mutex<Option<Array>>>);

impl Leaf {
    /// A leaf that starts from the contributions of other operations.
    pub fn new(buffer: Option<Array>) -> Self {
        Self(Arc::new(Mutex::new(buffer)))
    }

    fn buffer(&self) -> MutexGuard<'_, Option<Array>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> Option<Array> {
        self.buffer().take()
    }

    /// Add to the contributions so far.
    pub fn put(&self, gradient: Array) -> Result<()> {
        let mut buffer = self.buffer();
        match &mut *buffer {
            Some(sum) => add(sum.values_mut()?, &gradient.values()?),
            none => *none = Some(gradient),
        }
        Ok(())
    }
}
