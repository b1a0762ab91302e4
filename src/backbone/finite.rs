//! Checks for NaN and infinite values in results, and error messages that name the weights at fault.

use super::parameters::Parameters;
use super::spec::Spec;
use crate::compute::all_finite;
use crate::error::{Error, Result};

/// Most names in a message.
const SHOWN: usize = 8;

impl Parameters {
    /// Names of the parameters that hold NaN or infinite values.
    pub fn not_finite(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, array) in self.iter() {
            let values = array.values()?;
            if !all_finite(&values) {
                names.push(name.to_string());
            }
        }
        Ok(names)
    }

    /// Check that the parameters in `specs` are finite. A tanh, softmax or logarithm after the encoder may turn
    /// infinite values into finite ones, so that only the parameters reveal them.
    ///
    /// # Errors
    /// `Error::Weights` that names those that are not finite.
    pub(crate) fn check_finite(&self, specs: &[Spec]) -> Result<()> {
        let names = self.filter(|name| specs.iter().any(|spec| spec.name == name)).not_finite()?;
        if names.is_empty() {
            return Ok(());
        }
        Err(damaged("nothing can be computed with this model", &names))
    }
}

/// Check that `computed` is finite; `params` gives the parameters it was computed from.
///
/// # Errors
/// `Error::Weights` that names the tensors that are not finite, if there are any.
pub fn check_finite(computed: &[f32], params: impl FnOnce() -> Parameters) -> Result<()> {
    if all_finite(computed) {
        return Ok(());
    }
    Err(damaged("what was computed is not finite", &params().not_finite()?))
}

/// The error for the failure `what`, where the tensors `names` are not finite; `names` may be empty.
pub(crate) fn damaged(what: &str, names: &[String]) -> Error {
    Error::Weights(match names.len() {
        0 => format!(
            "{what} although every weight is: numbers on the way are larger than float32 can hold. Try precision=\"f32\"; \
             if that does not help, the weights are too large to be those of a trained model"
        ),
        n => format!(
            "{what}: NaN or infinite values are in {n} of the model's tensors: {}. Open an undamaged copy of the weights",
            shorten(names)
        ),
    })
}

/// The first few names for a message, with the number of others.
pub(super) fn shorten(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
