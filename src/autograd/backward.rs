//! The backward pass, from a result to the parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slot::{Slot, Target};
use super::var::{Node, Origin, Var};
use crate::array::Array;
use crate::compute::add;
use crate::error::{Error, Result, without_backtrace};

/// Operations whose output has received a gradient, by their id. Ids grow from inputs to outputs, so the gradient of
/// the operation with the largest id is complete.
#[derive(Default)]
struct Pending(BTreeMap<u64, (Arc<Node>, Array)>);

impl Var {
    /// Differentiate this scalar: every parameter it depends on receives its gradient. What the operations kept is
    /// freed on the way, unless somebody else holds it.
    pub fn backward(self) -> Result<()> {
        match self.array().elem_count() {
            1 => {
                let shape = self.array().shape().clone();
                self.backward_from(Array::new(vec![1.0], shape)?)
            }
            _ => Err(Error::internal(format!("backward: got shape {:?}, expected a scalar", self.array().shape()))),
        }
    }

    /// As [`Var::backward`], for a value of any shape whose gradient is `gradient`, of the same shape.
    pub(super) fn backward_from(self, gradient: Array) -> Result<()> {
        let mut pending = Pending::default();
        let mut slot = pending.slot(&self);
        slot.give(gradient)?;
        pending.collect(&self, slot)?;
        drop(self);
        while let Some((_, (node, gradient))) = pending.0.pop_last() {
            // The node's last reference, and with it the values it was computed from, is dropped at the end of this
            // block.
            let mut slots: Vec<Slot> = node.inputs.iter().map(|input| pending.slot(input)).collect();
            let arrays: Vec<&Array> = node.inputs.iter().map(Var::array).collect();
            node.op.backward(&arrays, gradient, &mut slots).map_err(|error| within(error, node.op.name()))?;
            for (input, slot) in node.inputs.iter().zip(slots) {
                pending.collect(input, slot)?;
            }
        }
        Ok(())
    }
}

impl Pending {
    /// A slot for the gradient of `value`, with the contributions so far. An operation with the same value as two
    /// inputs gets two slots; the second starts empty.
    fn slot(&mut self, value: &Var) -> Slot {
        let (target, buffer) = match value.origin() {
            Origin::Constant => (Target::Unwanted, None),
            Origin::Parameter(slot) => (Target::Parameter(slot.clone()), None),
            Origin::Leaf(leaf) => (Target::Buffer, leaf.take()),
            Origin::Computed(node) => (Target::Buffer, self.0.remove(&node.id).map(|(_, gradient)| gradient)),
        };
        Slot::new(value.array().shape().clone(), target, buffer)
    }

    /// Store the gradient of the slot for the backward pass to continue.
    fn collect(&mut self, value: &Var, mut slot: Slot) -> Result<()> {
        let Some(gradient) = slot.take() else { return Ok(()) };
        match value.origin() {
            Origin::Constant => {}
            Origin::Parameter(_) => slot.give(gradient)?,
            Origin::Leaf(leaf) => leaf.put(gradient)?,
            Origin::Computed(node) => match self.0.get_mut(&node.id) {
                Some((_, sum)) => add(sum.values_mut()?, &gradient.values()?),
                None => {
                    self.0.insert(node.id, (node.clone(), gradient));
                }
            },
        }
        Ok(())
    }
}

/// Add the operation's name to the error.
fn within(error: Error, op: &str) -> Error {
    match error {
        Error::Tensor(error) => Error::internal(format!("{op}, backward: {}", without_backtrace(error))),
        other => other,
    }
}
