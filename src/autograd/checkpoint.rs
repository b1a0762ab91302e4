//! Activation checkpointing: recomputing a part in the backward pass instead of keeping its activations (Chen et al.
//! 2016).

use super::op::Op;
use super::slot::{Leaf, Slot};
use super::var::Var;
use crate::array::Array;
use crate::error::Result;

/// Computes `f(inputs)` and keeps only the inputs; the backward pass runs `f` again.
///
/// `f` must give the same values each time, so dropout masks must come from fixed keys. Parameters that `f` holds
/// receive bitwise the same gradients as without checkpointing.
pub fn checkpoint<F>(inputs: &[&Var], f: F) -> Result<Var>
where
    F: Fn(&[Var]) -> Result<Var> + Send + Sync + 'static,
{
    let constants: Vec<Var> = inputs.iter().map(|input| Var::constant(input.array().clone())).collect();
    let output = f(&constants)?;
    // The parameters that `f` holds may need a gradient even if no input does.
    let differentiable = Var::differentiable(inputs) || Var::differentiable(&[&output]);
    let array = output.array().clone();
    // Frees what this run kept for its backward pass.
    drop(output);
    Ok(if differentiable { Var::with_node(array, inputs, Checkpoint(f)) } else { Var::constant(array) })
}

struct Checkpoint<F>(F);

// SAFETY: no values of slots are lent to it: gradients are given whole.
unsafe impl<F> Op for Checkpoint<F>
where
    F: Fn(&[Var]) -> Result<Var> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        // A leaf starts from the contributions in its slot, so that sums are taken in the same order as without
        // checkpointing.
        let leaf = |slot: &mut Slot| slot.wanted().then(|| Leaf::new(slot.take()));
        let leaves: Vec<Option<Leaf>> = into.iter_mut().map(leaf).collect();
        let value = |(&array, leaf): (&&Array, &Option<Leaf>)| match leaf {
            Some(leaf) => Var::leaf(array.clone(), leaf.clone()),
            None => Var::constant(array.clone()),
        };
        let values: Vec<Var> = inputs.iter().zip(&leaves).map(value).collect();
        (self.0)(&values)?.backward_from(gradient)?;
        for (leaf, slot) in leaves.iter().zip(into) {
            if let Some(gradient) = leaf.as_ref().and_then(Leaf::take) {
                slot.give(gradient)?;
            }
        }
        Ok(())
    }
}
