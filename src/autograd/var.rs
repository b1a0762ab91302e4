//! Arrays with their place in the graph of operations.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::gradients::GradientSlot;
use super::op::Op;
use super::slot::Leaf;
use crate::array::Array;
use crate::error::{Error, Result};

/// An array, and where its gradient goes, if anywhere. Clones share both.
#[derive(Clone)]
pub struct Var {
    array: Array,
    origin: Origin,
}

/// The origin of a value, to which its gradient flows.
#[derive(Clone)]
pub(super) enum Origin {
    /// No gradient flows here.
    Constant,
    Parameter(GradientSlot),
    /// An input of a checkpointed part, which is recomputed.
    Leaf(Leaf),
    Computed(Arc<Node>),
}

/// A computed operation. It does not hold its output, which is freed with the last value that needs it.
pub(super) struct Node {
    /// Larger than the ids of the operations that produced its inputs.
    pub id: u64,
    pub op: Box<dyn Op>,
    pub inputs: Vec<Var>,
}

impl Var {
    /// A value that no gradient flows to.
    pub fn constant(array: Array) -> Self {
        Self { array, origin: Origin::Constant }
    }

    /// A trainable value whose gradient is collected in `slot`, which must have its size.
    pub fn parameter(array: Array, slot: GradientSlot) -> Result<Self> {
        if slot.len() != array.elem_count() {
            let message = format!("a parameter of shape {:?} has a gradient of {} values", array.shape(), slot.len());
            return Err(Error::internal(message));
        }
        Ok(Self { array, origin: Origin::Parameter(slot) })
    }

    /// The output of `op` on `inputs`. If no input needs a gradient, neither inputs nor operation are kept.
    pub fn computed(array: Array, inputs: &[&Self], op: impl Op) -> Self {
        if Self::differentiable(inputs) { Self::with_node(array, inputs, op) } else { Self::constant(array) }
    }

    pub(super) fn with_node(array: Array, inputs: &[&Self], op: impl Op) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let inputs = inputs.iter().map(|&input| input.clone()).collect();
        let node = Node { id: NEXT.fetch_add(1, Ordering::Relaxed), op: Box::new(op), inputs };
        Self { array, origin: Origin::Computed(Arc::new(node)) }
    }

    pub(super) fn leaf(array: Array, leaf: Leaf) -> Self {
        Self { array, origin: Origin::Leaf(leaf) }
    }

    /// True if any of `inputs` needs a gradient.
    pub fn differentiable(inputs: &[&Self]) -> bool {
        inputs.iter().any(|input| !matches!(input.origin, Origin::Constant))
    }

    /// The array, without its origin.
    pub fn array(&self) -> &Array {
        &self.array
    }

    /// The value of an array with one element.
    pub fn scalar(&self) -> Result<f32> {
        match *self.array.values()? {
            [value] => Ok(value),
            _ => Err(Error::internal(format!("got shape {:?}, expected a scalar", self.array.shape()))),
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match &self.origin {
            Origin::Constant => "constant",
            Origin::Parameter(_) => "parameter",
            Origin::Leaf(_) => "leaf",
            Origin::Computed(node) => node.op.name(),
        };
        write!(f, "Var({origin} {:?})", self.array.shape())
    }
}

impl Drop for Node {
    /// Iterative, because a long chain dropped without a backward pass would otherwise recurse once per operation.
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.inputs);
        while let Some(value) = rest.pop() {
            if let Origin::Computed(node) = value.origin
                && let Some(mut node) = Arc::into_inner(node)
            {
                rest.append(&mut node.inputs);
            }
        }
    }
}
