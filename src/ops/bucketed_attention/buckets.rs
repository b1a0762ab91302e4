//! Rows of tables by distance.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Which row of a table each distance between a query and a key has.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// Of the distances `-reach ..= reach` from query to key, `i - j`.
    rows: Arc<[u32]>,
    reach: usize,
}

/// The rows that a sequence needs.
pub(super) struct Rows {
    pub first: usize,
    pub count: usize,
    /// Of the distances from `n - 1` down to `-(n - 1)`, less the first: those of the query at `i` begin at `n - 1 - i`.
    columns: Vec<u32>,
    len: usize,
}

impl Buckets {
    /// For distances up to `reach`; `row` gives that of each, which is that of a key behind the query if it is negative.
    pub fn new(reach: usize, row: impl Fn(i64) -> u32) -> Self {
        let reach_of = reach as i64;
        Self { rows: (-reach_of..=reach_of).map(row).collect(), reach }
    }

    /// The longest sequence they are for.
    pub fn longest(&self) -> usize {
        self.reach + 1
    }

    /// The first row and the last that a sequence of `len` tokens, at least one, needs.
    pub fn range(&self, len: usize) -> (u32, u32) {
        let rows = &self.rows[self.reach + 1 - len..self.reach + len];
        rows.iter().fold((u32::MAX, 0), |(low, high), &row| (low.min(row), high.max(row)))
    }

    /// The same rows of a table that begins with the row `first`.
    #[must_use]
    pub fn less(&self, first: u32) -> Self {
        Self { rows: self.rows.iter().map(|row| row.saturating_sub(first)).collect(), reach: self.reach }
    }

    /// An error if sequences are longer, or need more than `n` rows.
    pub(super) fn check(&self, longest: usize, n: usize) -> Result<()> {
        if longest == 0 || longest <= self.longest() && (self.range(longest).1 as usize) < n {
            return Ok(());
        }
        Err(Error::internal(format!(
            "attention: got {n} rows by distance and buckets up to distance {}, a sequence has {longest} tokens",
            self.reach
        )))
    }

    /// Those of a sequence of `len` tokens, at least one.
    pub(super) fn of(&self, len: usize) -> Rows {
        let (first, last) = self.range(len);
        let rows = &self.rows[self.reach + 1 - len..self.reach + len];
        let columns = rows.iter().rev().map(|row| row - first).collect();
        Rows { first: first as usize, count: (last - first) as usize + 1, columns, len }
    }
}

impl Rows {
    /// The rows of the query at `i`, one for each key, less the first.
    pub fn of_query(&self, i: usize) -> &[u32] {
        &self.columns[self.len - 1 - i..][..self.len]
    }
}
