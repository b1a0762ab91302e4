//! A corpus cut into what a model takes at once.

use std::ops::Range;

use super::file::Corpus;
use crate::error::{Error, Result};

/// Blocks of consecutive tokens of some documents of a corpus, where each document may end with a token of its own.
pub struct Blocks {
    corpus: Corpus,
    end: Option<u32>,
    /// Where each block begins, counting the tokens that end documents, and how many tokens it has.
    blocks: Vec<(u64, u32)>,
}

impl Blocks {
    /// Each document in as few blocks of at most `longest` tokens as will do, of nearly the same length.
    pub fn documents(corpus: &Corpus, documents: Range<usize>, end: Option<u32>, longest: usize) -> Result<Self> {
        let mut blocks = Self::none(corpus, &documents, end, longest)?;
        for document in documents {
            let (start, n) = (blocks.start(document), blocks.start(document + 1) - blocks.start(document));
            let parts = n.div_ceil(longest as u64);
            for part in 0..parts {
                let [from, to] = [part, part + 1].map(|part| part * n / parts);
                blocks.blocks.push((start + from, (to - from) as u32));
            }
        }
        Ok(blocks)
    }

    /// All documents one after another, in blocks of `length` tokens; the last one may be shorter.
    pub fn stream(corpus: &Corpus, documents: Range<usize>, end: Option<u32>, length: usize) -> Result<Self> {
        let mut blocks = Self::none(corpus, &documents, end, length)?;
        let [mut start, stop] = [documents.start, documents.end].map(|document| blocks.start(document));
        while start < stop {
            let n = (stop - start).min(length as u64);
            blocks.blocks.push((start, n as u32));
            start += n;
        }
        Ok(blocks)
    }

    fn none(corpus: &Corpus, documents: &Range<usize>, end: Option<u32>, length: usize) -> Result<Self> {
        if documents.end > corpus.n_documents() || length == 0 || u32::try_from(length).is_err() {
            return Err(Error::internal(format!("blocks of {length} tokens of documents {documents:?}")));
        }
        Ok(Self { corpus: corpus.clone(), end, blocks: Vec::new() })
    }

    /// Where a document begins, counting the tokens that end those before it.
    fn start(&self, document: usize) -> u64 {
        self.corpus.starts()[document] + if self.end.is_some() { document as u64 } else { 0 }
    }

    /// Tokens of each block.
    pub fn lengths(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.1 as usize).collect()
    }

    /// The tokens of a block, as they are stored.
    pub fn tokens(&self, block: usize) -> Vec<u32> {
        let Some(&(start, n)) = self.blocks.get(block) else { return Vec::new() };
        let (mut tokens, n) = (Vec::with_capacity(n as usize), n as usize);
        let starts = self.corpus.starts();
        let per_document = u64::from(self.end.is_some());
        // The last document that begins at or before the block: starts grow by at least one, and so does their count.
        let (mut low, mut high) = (0, starts.len() - 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if starts[middle] + per_document * middle as u64 <= start { low = middle } else { high = middle }
        }
        let mut skip = (start - self.start(low)) as usize;
        while tokens.len() < n && low < starts.len() - 1 {
            let document = self.corpus.document(low).iter().copied().chain(self.end);
            tokens.extend(document.skip(skip).take(n - tokens.len()));
            (low, skip) = (low + 1, 0);
        }
        tokens
    }
}
