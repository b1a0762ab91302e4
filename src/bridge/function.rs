//! Wraps a function of candle tensors as an operation of our autograd.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Tensor};

use super::audit::{check_gradients, check_reached, check_repeatable, failed, stopped};
use super::tensors::{Leaf, Tensors};
use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};

type Function = dyn Fn(&Tensors) -> candle_core::Result<Tensor> + Send + Sync;

/// A differentiable function of candle tensors.
///
/// It must be deterministic, compute in the dtype of its inputs ([`Tensors::dtype`]), and its output must depend on
/// every input that wants a gradient. Its graph must not be deep: candle traverses graphs by recursion, and a chain of
/// tens of thousands of operations overflows the stack.
pub struct CandleFunction {
    name: String,
    function: Box<Function>,
    /// Number of calls.
    runs: AtomicU64,
    /// Number of calls that wanted gradients and had at least one row.
    differentiated: AtomicU64,
}

impl CandleFunction {
    /// Wraps `function`; `name` appears in error messages.
    pub fn new(
        name: impl Into<String>,
        function: impl Fn(&Tensors) -> candle_core::Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let (runs, differentiated) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { name: name.into(), function: Box::new(function), runs, differentiated }
    }

    /// Name used in error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Applies the function. Gradients flow to `values` (hidden states and parameters, f32 or bf16) but not to
    /// `constants` (ids, masks, dropout factors). Calls 1, 2, 4, 8 and so on are checked: two runs are compared, and
    /// gradients, if wanted, are compared with central differences. The checks repeat because faults may depend on
    /// shapes.
    ///
    /// # Errors
    /// `Error::Tensor` if the function fails, draws random numbers, or stops a gradient.
    pub fn apply(&self, values: &[(&str, &Var)], constants: &[(&str, Tensor)]) -> Result<Var> {
        let leaves = values.iter().map(|(name, value)| Leaf::new(name, value)).collect::<Result<Vec<_>>>()?;
        let named = leaves.iter().map(|leaf| (&*leaf.name, leaf.tensor.clone()));
        let all = named.chain(constants.iter().map(|(name, tensor)| (*name, tensor.clone())));
        let tensors = Tensors::new(all, DType::F32).map_err(|error| failed(&self.name, error))?;
        let run = || (self.function)(&tensors).map_err(|error| failed(&self.name, error));
        let output = run()?;
        if output.dtype() != DType::F32 {
            let (name, got) = (&self.name, output.dtype());
            return Err(Error::internal(format!("{name}: the output has type {got:?}, expected F32")));
        }
        if counts(&self.runs) {
            check_repeatable(&self.name, &output, &run()?)?;
        }
        let wanted = leaves.iter().any(|leaf| leaf.wanted);
        if wanted && output.elem_count() > 0 && counts(&self.differentiated) {
            check_reached(&self.name, &output, &leaves)?;
            check_gradients(&self.name, &*self.function, &leaves, constants, output.dims())?;
        }
        let inputs: Vec<&Var> = values.iter().map(|(_, value)| *value).collect();
        let array = Array::try_from(&output)?;
        Ok(Var::computed(array, &inputs, Graph { name: self.name.clone(), output, leaves }))
    }
}

/// Counts a call and returns true for the first, second, fourth, eighth and so on.
fn counts(calls: &AtomicU64) -> bool {
    (calls.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two()
}

/// The graph candle recorded from the leaves to the output.
struct Graph {
    name: String,
    output: Tensor,
    leaves: Vec<Leaf>,
}

// SAFETY: the op borrows nothing from slots; gradients are handed over as whole arrays.
unsafe impl Op for Graph {
    fn name(&self) -> &'static str {
        "candle function"
    }

    fn backward(&self, _: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        if gradient.elem_count() == 0 {
            // Without rows all gradients are zero; candle's operations handle empty tensors inconsistently.
            let zeros = |leaf: &Leaf| Array::new(vec![0.0; leaf.tensor.elem_count()], leaf.tensor.shape());
            return self.leaves.iter().zip(into).try_for_each(|(leaf, slot)| slot.give(zeros(leaf)?));
        }
        // candle differentiates scalars only: the gradient of `sum(output * gradient)` is the vector-Jacobian product.
        let scalar = (&self.output * Tensor::try_from(gradient)?)?.sum_all()?;
        let mut gradients = scalar.backward().map_err(|error| failed(&self.name, error))?;
        for (leaf, slot) in self.leaves.iter().zip(into).filter(|(_, slot)| slot.wanted()) {
            let gradient = gradients.remove(&leaf.tensor).ok_or_else(|| stopped(&self.name, &leaf.name))?;
            slot.give(Array::try_from(&gradient)?)?;
        }
        Ok(())
    }
}
