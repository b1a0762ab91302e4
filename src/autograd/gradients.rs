//! The gradients of all parameters, in one buffer.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::compute::add;

/// One buffer for the gradients of all parameters, which lie in it one after another. Cloning shares it.
#[derive(Clone)]
pub struct GradientBuffer(Arc<Mutex<Flat>>);

struct Flat {
    values: Vec<f32>,
    ranges: Vec<Range<usize>>,
    /// Whether a contribution has arrived since [`GradientBuffer::clear`]; what lies there before is of no meaning.
    written: Vec<bool>,
}

/// The place of one parameter's gradient.
#[derive(Clone)]
pub struct GradientSlot {
    gradients: GradientBuffer,
    parameter: usize,
    range: Range<usize>,
}

impl GradientBuffer {
    /// For parameters of these sizes; nothing has arrived.
    pub fn new(sizes: &[usize]) -> Self {
        let mut end = 0;
        let mut after = |&size: &usize| {
            end += size;
            end - size..end
        };
        let ranges: Vec<_> = sizes.iter().map(&mut after).collect();
        Self(Arc::new(Mutex::new(Flat { values: vec![0.0; end], written: vec![false; ranges.len()], ranges })))
    }

    fn lock(&self) -> MutexGuard<'_, Flat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of each parameter, in the order of the sizes.
    pub fn slots(&self) -> Vec<GradientSlot> {
        let flat = self.lock();
        let slot = |(parameter, range): (usize, &Range<usize>)| GradientSlot {
            gradients: self.clone(),
            parameter,
            range: range.clone(),
        };
        flat.ranges.iter().enumerate().map(slot).collect()
    }

    /// Forget what has arrived: the next contribution to each parameter is its first.
    pub fn clear(&self) {
        self.lock().written.fill(false);
    }

    /// `f` of each parameter's gradient; none where nothing has arrived.
    pub fn read<R>(&self, f: impl FnOnce(&[Option<&[f32]>]) -> R) -> R {
        let flat = self.lock();
        let gradient = |(range, written): (&Range<usize>, &bool)| written.then(|| &flat.values[range.clone()]);
        f(&flat.ranges.iter().zip(&flat.written).map(gradient).collect::<Vec<_>>())
    }
}

impl GradientSlot {
    /// How many values the parameter has.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// See [`super::Slot::write`].
    pub(super) fn write(&self, f: impl FnOnce(&mut [f32], bool)) {
        let mut flat = self.gradients.lock();
        let before = std::mem::replace(&mut flat.written[self.parameter], true);
        f(&mut flat.values[self.range.clone()], before);
    }

    /// Contribute `values`.
    pub(super) fn add(&self, values: &[f32]) {
        self.write(|sum, before| if before { add(sum, values) } else { sum.copy_from_slice(values) });
    }
}
