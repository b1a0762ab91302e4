//! Inputs of attention with relative position terms, some of them optional.

use crate::array::{Array, Operand};
use crate::error::{Error, Result};

/// Which of the relative position terms are present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub position_keys: bool,
    pub position_queries: bool,
    pub bias: bool,
}

/// One item per input, in input order.
pub(super) struct Inputs<T> {
    pub qkv: [T; 3],
    pub position_keys: Option<T>,
    pub position_queries: Option<T>,
    pub bias: Option<T>,
}

impl<T> Inputs<T> {
    /// Takes the items of the inputs that are present, in order.
    pub fn of(terms: Terms, all: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut all = all.into_iter();
        let mut next = || all.next().ok_or_else(|| Error::internal("got fewer inputs than the operation has"));
        Ok(Self {
            qkv: [next()?, next()?, next()?],
            position_keys: terms.position_keys.then(&mut next).transpose()?,
            position_queries: terms.position_queries.then(&mut next).transpose()?,
            bias: terms.bias.then(&mut next).transpose()?,
        })
    }

    pub fn map<U>(self, f: impl Fn(T) -> U) -> Inputs<U> {
        Inputs {
            qkv: self.qkv.map(&f),
            position_keys: self.position_keys.map(&f),
            position_queries: self.position_queries.map(&f),
            bias: self.bias.map(&f),
        }
    }
}

/// Reads the values of the arrays.
pub(super) fn read<'a>(arrays: &[&'a Array]) -> Result<Vec<Operand<'a>>> {
    arrays.iter().map(|array| array.operand()).collect()
}
