//! The gradients of all parameters, in one buffer.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pieces::{Gradient, PIECE, fill_unwritten};
use crate::array::Array;
use crate::compute::add;
use crate::error::Result;

/// One buffer that holds the gradients of all parameters, one after another. Clones share it.
#[derive(Clone)]
pub struct GradientBuffer(Arc<Mutex<Flat>>);

struct Flat {
    values: Array,
    places: Vec<Place>,
    /// For each piece of each parameter, whether it was written since [`GradientBuffer::clear`]; until then its values
    /// have no meaning.
    written: Vec<bool>,
}

/// The position of one parameter's gradient in the buffer.
struct Place {
    values: Range<usize>,
    pieces: Range<usize>,
    /// Whether a contribution has arrived; the gradient of an embedding of no ids arrives without any written piece.
    arrived: bool,
}

/// A handle to one parameter's gradient in the buffer.
#[derive(Clone)]
pub struct GradientSlot {
    gradients: GradientBuffer,
    parameter: usize,
    len: usize,
}

impl GradientBuffer {
    /// A buffer for parameters of these sizes, without contributions.
    pub fn new(sizes: &[usize]) -> Result<Self> {
        let (mut n_values, mut n_pieces) = (0, 0);
        let mut after = |&size: &usize| {
            let (value, piece) = (n_values, n_pieces);
            (n_values, n_pieces) = (value + size, piece + size.div_ceil(PIECE));
            Place { values: value..n_values, pieces: piece..n_pieces, arrived: false }
        };
        let places: Vec<_> = sizes.iter().map(&mut after).collect();
        let values = Array::new(vec![0.0; n_values], n_values)?;
        Ok(Self(Arc::new(Mutex::new(Flat { values, places, written: vec![false; n_pieces] }))))
    }

    fn lock(&self) -> MutexGuard<'_, Flat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of each parameter, in the order of the sizes.
    pub fn slots(&self) -> Vec<GradientSlot> {
        let flat = self.lock();
        let slot = |(parameter, place): (usize, &Place)| GradientSlot {
            gradients: self.clone(),
            parameter,
            len: place.values.len(),
        };
        flat.places.iter().enumerate().map(slot).collect()
    }

    /// Discard all contributions: the next one to each parameter counts as its first.
    pub fn clear(&self) {
        let mut flat = self.lock();
        flat.written.fill(false);
        flat.places.iter_mut().for_each(|place| place.arrived = false);
    }

    /// Call `f` with each parameter's gradient; None for a parameter without contributions.
    pub fn read<R>(&self, f: impl FnOnce(&[Option<Gradient>]) -> R) -> Result<R> {
        let flat = self.lock();
        let values = flat.values.values()?;
        let gradient = |place: &Place| {
            let found = Gradient::new(&values[place.values.clone()], &flat.written[place.pieces.clone()]);
            place.arrived.then_some(found)
        };
        Ok(f(&flat.places.iter().map(gradient).collect::<Vec<_>>()))
    }
}

impl GradientSlot {
    /// The number of values of the parameter.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the parameter has no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// See [`super::Slot::write`].
    pub(super) fn write(&self, f: impl FnOnce(&mut [f32], bool)) -> Result<()> {
        self.write_pieces(|values, written| {
            let before = written.contains(&true);
            if before {
                fill_unwritten(values, written);
            }
            f(values, before);
            written.fill(true);
        })
    }

    /// See [`super::Slot::write_pieces`].
    pub(super) fn write_pieces(&self, f: impl FnOnce(&mut [f32], &mut [bool])) -> Result<()> {
        let mut flat = self.gradients.lock();
        let Flat { values, places, written } = &mut *flat;
        let place = &mut places[self.parameter];
        place.arrived = true;
        f(&mut values.values_mut()?[place.values.clone()], &mut written[place.pieces.clone()]);
        Ok(())
    }

    /// Contribute `values`, which are added to earlier contributions.
    pub(super) fn add(&self, values: &[f32]) -> Result<()> {
        self.write(|sum, before| if before { add(sum, values) } else { sum.copy_from_slice(values) })
    }
}
