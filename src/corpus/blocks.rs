//! Training blocks: documents cut into pieces, or one stream of all documents cut into blocks of equal length.

use std::ops::Range;

use super::file::Corpus;
use crate::error::{Error, Result};

/// Blocks of a range of documents of a corpus, numbered in corpus order.
#[derive(Clone)]
pub struct Blocks {
    corpus: Corpus,
    cut: Cut,
}

#[derive(Clone)]
enum Cut {
    /// Token offset of the start of each block, then the end of the last.
    Documents(Vec<u64>),
    /// Blocks of `length` tokens from the concatenated documents, with `separator` between them.
    Stream { documents: Range<usize>, length: usize, separator: u32, count: usize },
}

impl Blocks {
    /// Cuts each document into blocks of at most `longest` tokens (the sequence length without special tokens); the
    /// last block of a document may be shorter. No token is lost, and no block mixes two documents.
    pub fn documents(corpus: &Corpus, documents: Range<usize>, longest: usize) -> Result<Self> {
        let starts = within(corpus, &documents)?;
        if longest == 0 {
            return Err(Error::Value("blocks of 0 tokens; max_length leaves no room for text".into()));
        }
        let mut cuts = Vec::new();
        for ends in starts.windows(2) {
            cuts.extend((ends[0]..ends[1]).step_by(longest));
        }
        cuts.extend(starts.last());
        Ok(Self { corpus: corpus.clone(), cut: Cut::Documents(cuts) })
    }

    /// Concatenates the documents with the id `separator` between them and cuts them into blocks of exactly `length`
    /// tokens. Remaining tokens, less than a block, are dropped.
    pub fn stream(corpus: &Corpus, documents: Range<usize>, length: usize, separator: u32) -> Result<Self> {
        let starts = within(corpus, &documents)?;
        let tokens = starts.last().zip(starts.first()).map_or(0, |(end, start)| (end - start) as usize);
        let total = tokens + documents.len().saturating_sub(1);
        let count = total.checked_div(length).unwrap_or(0);
        if count == 0 {
            return Err(Error::Data(format!(
                "the documents have {total} tokens, less than one block of {length}; give more text or shorter blocks"
            )));
        }
        Ok(Self { corpus: corpus.clone(), cut: Cut::Stream { documents, length, separator, count } })
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        match &self.cut {
            Cut::Documents(cuts) => cuts.len().saturating_sub(1),
            Cut::Stream { count, .. } => *count,
        }
    }

    /// Number of tokens of a block; 0 for an index out of range.
    pub fn block_len(&self, block: usize) -> usize {
        match &self.cut {
            Cut::Documents(cuts) => match cuts.get(block..).unwrap_or_default() {
                [start, end, ..] => (end - start) as usize,
                _ => 0,
            },
            Cut::Stream { length, count, .. } => {
                if block < *count {
                    *length
                } else {
                    0
                }
            }
        }
    }

    /// True if the last token of the block is the last token of a document.
    pub fn ends_document(&self, block: usize) -> bool {
        match &self.cut {
            Cut::Documents(cuts) => {
                cuts.get(block + 1).is_some_and(|end| self.corpus.starts().binary_search(end).is_ok())
            }
            Cut::Stream { .. } => false,
        }
    }

    /// Number of tokens of all blocks.
    pub fn n_tokens(&self) -> usize {
        match &self.cut {
            Cut::Documents(cuts) => cuts.last().zip(cuts.first()).map_or(0, |(end, start)| (end - start) as usize),
            Cut::Stream { length, count, .. } => length * count,
        }
    }

    /// Appends the tokens of a block in stored form (see [`token`](super::token)). If the first token has the flag of a
    /// continued word, that word began in the previous block. Appends nothing for an index out of range.
    pub fn read(&self, block: usize, tokens: &mut Vec<u32>) {
        match &self.cut {
            Cut::Documents(cuts) => {
                if let [start, end, ..] = cuts.get(block..).unwrap_or_default() {
                    tokens.extend_from_slice(self.stored(*start, *end));
                }
            }
            Cut::Stream { documents, length, separator, count } if block < *count => {
                self.read_stream(documents, block * length, *length, *separator, tokens);
            }
            Cut::Stream { .. } => {}
        }
    }

    /// Reads `length` tokens of the stream, starting at token `at`.
    fn read_stream(&self, documents: &Range<usize>, at: usize, length: usize, separator: u32, tokens: &mut Vec<u32>) {
        let starts = self.corpus.starts().get(documents.start..=documents.end).unwrap_or_default();
        let origin = starts.first().copied().unwrap_or(0);
        // Document `i` comes after `i` separators.
        let begin = |i: usize| (starts[i] - origin) as usize + i;
        let (mut low, mut high) = (0, documents.len());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if begin(middle) <= at { low = middle } else { high = middle }
        }
        let (mut skip, mut left) = (at - begin(low), length);
        for ends in starts[low..].windows(2) {
            let document = self.stored(ends[0], ends[1]);
            let part = document.get(skip..).unwrap_or_default();
            let part = &part[..part.len().min(left)];
            tokens.extend_from_slice(part);
            left -= part.len();
            if left == 0 {
                break;
            }
            tokens.push(separator);
            left -= 1;
            skip = 0;
        }
    }

    fn stored(&self, start: u64, end: u64) -> &[u32] {
        self.corpus.tokens().get(start as usize..end as usize).unwrap_or_default()
    }
}

/// Token offsets of the starts of these documents, then the end of the last.
fn within<'a>(corpus: &'a Corpus, documents: &Range<usize>) -> Result<&'a [u64]> {
    corpus
        .starts()
        .get(documents.start..=documents.end)
        .ok_or_else(|| Error::Value(format!("documents {documents:?} of a corpus of {}", corpus.n_documents())))
}
