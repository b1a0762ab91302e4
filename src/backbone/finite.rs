//! Numbers computed from weights: what to say where they are not finite.

use super::parameters::Parameters;
use super::spec::Spec;
use crate::compute::all_finite;
use crate::error::{Error, Result};

/// Names in one message.
const SHOWN: usize = 8;

impl Parameters {
    /// Those that hold NaN or infinite values: names.
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

    /// See that those of `specs` are finite. Behind the encoder a tanh, a softmax or a logarithm may make finite numbers of
    /// infinite ones, so that only the parameters tell.
    ///
    /// # Errors
    /// `Error::Weights` that names those at fault.
    pub(crate) fn check_finite(&self, specs: &[Spec]) -> Result<()> {
        let names = self.filter(|name| specs.iter().any(|spec| spec.name == name)).not_finite()?;
        if names.is_empty() {
            return Ok(());
        }
        Err(damaged("nothing can be computed with this model", &names))
    }
}

/// See that `computed`, which was computed from the parameters that `params` gives, is finite.
///
/// # Errors
/// `Error::Weights` that names the tensors at fault, if there are any.
pub fn check_finite(computed: &[f32], params: impl FnOnce() -> Parameters) -> Result<()> {
    if all_finite(computed) {
        return Ok(());
    }
    Err(damaged("what was computed is not finite", &params().not_finite()?))
}

/// The error for what went wrong with weights of which the tensors `names` are not finite; perhaps none.
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

/// Names for a message, the first few of many.
pub(super) fn shorten(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
