//! What attends to what, and where it lies.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::{Elements, SharedBuffer, SharedSlice, put};
use crate::error::{Error, Result};
use crate::ops::dropout::Dropout;
use crate::ops::rotary::Rotary;
use crate::product::{COLUMNS, Lines, Output, Part, TASK_ROWS, product_here};

/// Queries whose scores are held at once.
pub(super) const BLOCK: usize = TASK_ROWS;

/// What attends to what.
#[derive(Clone)]
pub struct Scheme {
    /// `[B + 1]`: where each sequence begins, and the end. Tokens see those of their own sequence alone.
    pub cu_seqlens: Arc<[u32]>,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, of which `heads` is a multiple: query head `h` uses key head `h / (heads / key_heads)`
    /// (grouped-query attention, Ainslie et al. 2023).
    pub key_heads: usize,
    pub span: Span,
    /// Turns queries and keys by their position within their sequence.
    pub rotary: Option<Arc<Rotary>>,
    /// Of the probabilities.
    pub dropout: Option<Dropout>,
}

/// The keys that a query at position `i` of its sequence sees: those at `i - before ..= i + after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub before: usize,
    pub after: usize,
}

impl Span {
    /// Every key.
    pub const ALL: Self = Self { before: usize::MAX, after: usize::MAX };
    /// No key behind the query.
    pub const CAUSAL: Self = Self { before: usize::MAX, after: 0 };

    /// The keys that at least one of the queries `row .. row + rows` of `len` sees.
    pub(super) fn keys(self, row: usize, rows: usize, len: usize) -> Range<usize> {
        row.saturating_sub(self.before)..(row + rows).saturating_add(self.after).min(len)
    }
}

/// Queries whose scores are held at once.
pub(super) struct Block {
    pub row: usize,
    pub rows: usize,
    /// The keys with a score: those that a query sees, up to whole panels of the packed keys.
    pub keys: Range<usize>,
}

/// One head of one sequence: where it lies within `[T, heads * size]`.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub first: usize,
    pub len: usize,
    pub index: usize,
    pub size: usize,
    pub width: usize,
}

/// Rows of values that one task alone writes: of a result, a gradient, or scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    values: SharedSlice<'a>,
    first: usize,
    stride: usize,
    size: usize,
    add: bool,
}

impl Scheme {
    /// A task is one head of the keys of one sequence. An error if shapes `[T, width]` do not fit.
    pub(super) fn tasks(&self, [q, k, v]: [(usize, usize); 3]) -> Result<Vec<Head>> {
        let (tokens, width) = k;
        let (heads, key_heads, starts) = (self.heads, self.key_heads, &self.cu_seqlens);
        let size = width.checked_div(key_heads).unwrap_or(0);
        if key_heads == 0
            || !heads.is_multiple_of(key_heads)
            || [q, k, v] != [(tokens, heads * size), (tokens, key_heads * size), k]
            || !starts.is_sorted()
            || starts.first() != Some(&0)
            || starts.last().is_some_and(|&end| end as usize != tokens)
        {
            return Err(Error::internal(format!(
                "attention: got q, k, v of {q:?}, {k:?}, {v:?}, {heads} heads, {key_heads} of keys, sequences {starts:?}"
            )));
        }
        if let Some(rotary) = &self.rotary {
            let longest = starts.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0);
            rotary.check(longest, size)?;
        }
        let sequences = starts.windows(2).map(|w| (w[0] as usize, (w[1] - w[0]) as usize)).filter(|&(_, len)| len > 0);
        let task = |(first, len)| (0..key_heads).map(move |index| Head { first, len, index, size, width });
        Ok(sequences.flat_map(task).collect())
    }

    /// The heads of queries that use a head of keys.
    pub(super) fn queries(&self, key: &Head) -> impl Iterator<Item = Head> + use<> {
        let (key, group) = (*key, self.heads / self.key_heads);
        (0..group).map(move |i| Head { index: key.index * group + i, width: key.width * group, ..key })
    }

    pub(super) fn blocks(&self, len: usize) -> impl Iterator<Item = Block> + use<> {
        let span = self.span;
        (0..len).step_by(BLOCK).map(move |row| {
            let rows = BLOCK.min(len - row);
            let seen = span.keys(row, rows, len);
            Block { row, rows, keys: seen.start / COLUMNS * COLUMNS..seen.end.next_multiple_of(COLUMNS).min(len) }
        })
    }

    /// The dropout of one row of probabilities: a key of its own for each query and head.
    pub(super) fn row_dropout(&self, head: &Head, row: usize) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.child(((head.first + row) * self.heads + head.index) as u64))
    }
}

impl Head {
    pub(super) fn offset(&self, row: usize) -> usize {
        (self.first + row) * self.width + self.index * self.size
    }

    /// `rows` rows from `row` on of values `[T, heads * size]`.
    pub(super) fn rows<'a>(&self, values: Elements<'a>, row: usize, rows: usize) -> Lines<'a> {
        let values = values.range(self.offset(row)..values.len());
        Lines { values, count: rows, depth: self.size, line_stride: self.width, depth_stride: 1 }
    }

    /// This head's part of values that tasks write, `add`ed to what is there or not.
    ///
    /// # Safety
    ///
    /// Nobody else touches the rows of this head meanwhile.
    pub(super) unsafe fn part<'a>(&self, (values, add): (SharedSlice<'a>, bool)) -> Rows<'a> {
        Rows { values, first: self.offset(0), stride: self.width, size: self.size, add }
    }

    /// `rows B` into the rows of this head's part of `out` from `row` on, each taken through `finish` first.
    ///
    /// # Safety
    ///
    /// Nobody else touches the rows of this head meanwhile.
    pub(super) unsafe fn product(
        &self,
        rows: Lines,
        b: Part,
        out: SharedBuffer,
        row: usize,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        match out {
            SharedBuffer::F32(values) => {
                // SAFETY: the caller promises that nobody else touches the rows of this head.
                let out = unsafe { self.part((values, false)) };
                product_here(rows, b, out.output(row, false), finish);
            }
            narrow @ SharedBuffer::Bf16(_) => product_here(rows, b, Output::lent(), |i, values| {
                finish(i, values);
                // SAFETY: a row of this head, which the caller promises that nobody else touches.
                unsafe { narrow.copy_from(self.offset(row + i), values) };
            }),
        }
    }
}

impl<'a> Rows<'a> {
    /// Rows beside each other, to be overwritten.
    pub(super) fn of(values: &'a mut [f32], size: usize) -> Self {
        Self { values: SharedSlice::new(values), first: 0, stride: size, size, add: false }
    }

    /// Those from `row` on, as a product's output; `add` to what a product has left there.
    pub(super) fn output(&self, row: usize, add: bool) -> Output<'a> {
        let start = self.first + row * self.stride;
        let len = self.values.len() - start;
        // SAFETY: these rows are the holder's alone, as was promised when they were made.
        unsafe { Output::from_raw(self.values.at(start), len, self.stride, self.add || add) }
    }

    pub(super) fn put(&self, row: usize, values: &[f32]) {
        // SAFETY: these rows are the holder's alone, as was promised when they were made.
        let out = unsafe { self.values.range(self.first + row * self.stride, self.size) };
        out.iter_mut().zip(values).for_each(|(out, &value)| put(out, value, self.add));
    }
}
