//! Cache of the network built from a model's parameters for inference, kept between calls.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::matmul::Precision;

/// The network used last, with weights packed once. Clones share it.
pub(crate) struct Cached<T>(Arc<Mutex<Kept<T>>>);

type Kept<T> = Option<(Precision, Arc<T>)>;

impl<T> Cached<T> {
    /// The network with products in `precision`: the cached one, or a new one from `make`, which replaces it.
    pub fn get(&self, precision: Precision, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((made, network)) if *made == precision => Ok(network.clone()),
            _ => {
                let network = Arc::new(make()?);
                *kept = Some((precision, network.clone()));
                Ok(network)
            }
        }
    }

    /// Drop the cached network, because training needs the memory.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn network_when_it_is_asked_for_again_is_the_same_until_precision_changes_or_it_is_forgotten() -> Result<()> {
        let (kept, made) = (Cached::<u32>::default(), std::cell::Cell::new(0));
        let ask = |kept: &Cached<u32>, precision| {
            kept.get(precision, || {
                made.set(made.get() + 1);
                Ok(made.get())
            })
        };
        let first = ask(&kept, Precision::F32)?;
        assert!(Arc::ptr_eq(&first, &ask(&kept.clone(), Precision::F32)?));
        assert_eq!(*ask(&kept, Precision::Bf16)?, 2);
        assert_eq!((*ask(&kept, Precision::F32)?, *first), (3, 1));
        kept.clone().forget();
        assert!(kept.get(Precision::F32, || Err(Error::internal("cannot be made"))).is_err());
        assert_eq!(*ask(&kept, Precision::F32)?, 4);
        Ok(())
    }
}
