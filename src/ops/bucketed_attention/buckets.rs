//! Relative position buckets: table rows by distance.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Maps each distance between a query and a key to a row of a relative position table.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// Table row of each distance `i - j` from query to key, for `-reach ..= reach`.
    rows: Arc<[u32]>,
    reach: usize,
}

/// The table rows that one sequence uses.
pub(super) struct Rows {
    pub first: usize,
    pub count: usize,
    /// Row minus `first`, for distances from `n - 1` down to `-(n - 1)`: those of the query at `i` begin at
    /// `n - 1 - i`.
    columns: Vec<u32>,
    len: usize,
}

impl Buckets {
    /// Buckets for distances up to `reach`. `row` returns the table row of a distance, which is negative if the key is
    /// after the query.
    pub fn new(reach: usize, row: impl Fn(i64) -> u32) -> Self {
        let reach_of = reach as i64;
        Self { rows: (-reach_of..=reach_of).map(row).collect(), reach }
    }

    /// Longest sequence the buckets support.
    pub fn longest(&self) -> usize {
        self.reach + 1
    }

    /// Smallest and largest row that a sequence of `len >= 1` tokens uses.
    pub fn range(&self, len: usize) -> (u32, u32) {
        let rows = &self.rows[self.reach + 1 - len..self.reach + len];
        rows.iter().fold((u32::MAX, 0), |(low, high), &row| (low.min(row), high.max(row)))
    }

    /// The same buckets for a table that starts at row `first` of the original.
    #[must_use]
    pub fn less(&self, first: u32) -> Self {
        Self { rows: self.rows.iter().map(|row| row.saturating_sub(first)).collect(), reach: self.reach }
    }

    /// Returns an error if sequences are too long, or if they need more than `n` rows.
    pub(super) fn check(&self, longest: usize, n: usize) -> Result<()> {
        if longest == 0 || longest <= self.longest() && (self.range(longest).1 as usize) < n {
            return Ok(());
        }
        Err(Error::internal(format!(
            "attention: got {n} rows by distance and buckets up to distance {}, a sequence has {longest} tokens",
            self.reach
        )))
    }

    /// The rows that a sequence of `len >= 1` tokens uses.
    pub(super) fn of(&self, len: usize) -> Rows {
        let (first, last) = self.range(len);
        let rows = &self.rows[self.reach + 1 - len..self.reach + len];
        let columns = rows.iter().rev().map(|row| row - first).collect();
        Rows { first: first as usize, count: (last - first) as usize + 1, columns, len }
    }
}

impl Rows {
    /// Row of each key, minus `first`, for the query at `i`.
    pub fn of_query(&self, i: usize) -> &[u32] {
        &self.columns[self.len - 1 - i..][..self.len]
    }
}
