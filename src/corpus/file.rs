//! File format of a tokenised corpus: header, tokens, document offsets.
//!
//! Numbers have the machine's byte order, so that the file can be memory-mapped; the magic number detects a file of the
//! other byte order. Header: magic `u64`, version `u32`, vocabulary size `u32`, number of tokens `u64` (`T`), number of
//! documents `u64` (`N`). Then `T` tokens `u32`, padded to 8 bytes, then `N + 1` offsets `u64`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::compute::MappedFile;
use crate::error::{Error, Result};

/// Flag bit of a token that continues the word of the previous token.
pub const CONTINUES: u32 = 1 << 31;

const MAGIC: u64 = u64::from_be_bytes(*b"wscorpus");
/// Version of the file layout and of how a text is tokenised.
const VERSION: u32 = 1;

/// Splits a stored token into its id and whether it continues a word.
pub fn token(stored: u32) -> (u32, bool) {
    (stored & !CONTINUES, stored & CONTINUES != 0)
}

/// Header of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub vocab_size: u32,
    pub n_tokens: u64,
    pub n_documents: u64,
}

impl Header {
    pub const BYTES: usize = 32;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let counts = u64::from(VERSION) | u64::from(self.vocab_size) << 32;
        let mut bytes = [0; Self::BYTES];
        for (to, number) in bytes.chunks_exact_mut(8).zip([MAGIC, counts, self.n_tokens, self.n_documents]) {
            to.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk().ok_or("is too short for a corpus")?;
        let [magic, counts, n_tokens, n_documents]: [u64; 4] = bytemuck::pod_read_unaligned(bytes);
        let (version, vocab_size) = (counts as u32, (counts >> 32) as u32);
        if magic != MAGIC {
            return Err("is no corpus, or one of a machine with another order of bytes".into());
        }
        if version != VERSION {
            return Err(format!("is a corpus of version {version}; this build reads version {VERSION}"));
        }
        Ok(Self { vocab_size, n_tokens, n_documents })
    }

    /// Byte ranges of the tokens and of the document offsets; None if they overflow `usize`.
    fn ranges(self) -> Option<(Range<usize>, Range<usize>)> {
        let tokens = usize::try_from(self.n_tokens).ok()?.checked_mul(4)?.checked_add(Self::BYTES)?;
        let starts = tokens.checked_next_multiple_of(8)?;
        let end = usize::try_from(self.n_documents).ok()?.checked_add(1)?.checked_mul(8)?.checked_add(starts)?;
        Some((Self::BYTES..tokens, starts..end))
    }
}

/// A memory-mapped corpus of `T` tokens in `N` documents. Immutable, cheap to clone. Every document has at least one
/// token.
#[derive(Clone)]
pub struct Corpus {
    name: Arc<str>,
    map: Arc<MappedFile>,
    vocab_size: usize,
    tokens: Range<usize>,
    starts: Range<usize>,
}

impl Corpus {
    /// Maps a file written by [`CorpusWriter`](super::CorpusWriter). The document offsets are checked; tokens are read
    /// only when used.
    pub fn open(path: &Path) -> Result<Self> {
        let map = Arc::new(MappedFile::open(path)?);
        let at = |message: &str| Error::Data(format!("{}: {message}", path.display()));
        let header = Header::parse(&map).map_err(|e| at(&e))?;
        let (tokens, starts) = header.ranges().filter(|(_, starts)| starts.end == map.len()).ok_or_else(|| {
            at(&format!(
                "has {} bytes, which are not {} tokens of {} documents; it was cut or changed",
                map.len(),
                header.n_tokens,
                header.n_documents
            ))
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into();
        let corpus = Self { name, map, vocab_size: header.vocab_size as usize, tokens, starts };
        let starts = corpus.starts();
        let is_whole = starts.first() == Some(&0) && starts.last() == Some(&header.n_tokens);
        if !is_whole || !starts.is_sorted_by(|a, b| a < b) {
            return Err(at("the starts of its documents are not in order; it was changed"));
        }
        Ok(corpus)
    }

    /// File name. In a cache it identifies the content.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Vocabulary size of the tokenizer that made the ids.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Number of documents, `N`.
    pub fn n_documents(&self) -> usize {
        self.starts().len().saturating_sub(1)
    }

    /// Number of tokens in all documents, `T`.
    pub fn n_tokens(&self) -> usize {
        self.tokens().len()
    }

    /// All tokens in stored form, documents concatenated, `[T]`; see [`token`].
    pub fn tokens(&self) -> &[u32] {
        // The mapping starts at a page boundary, so both sections are aligned.
        bytemuck::try_cast_slice(self.map.get(self.tokens.clone()).unwrap_or_default()).unwrap_or_default()
    }

    /// Token offset of the start of each document, then the end of the last, `[N + 1]`.
    pub(super) fn starts(&self) -> &[u64] {
        bytemuck::try_cast_slice(self.map.get(self.starts.clone()).unwrap_or_default()).unwrap_or_default()
    }

    /// Tokens of a document in stored form; empty for an index out of range.
    pub fn document(&self, document: usize) -> &[u32] {
        let range =
            self.starts().get(document..).and_then(|starts| Some(*starts.first()? as usize..*starts.get(1)? as usize));
        range.and_then(|range| self.tokens().get(range)).unwrap_or_default()
    }

    /// Splits the documents into a training and an evaluation range. The last documents are held out: as many as have
    /// at most `fraction` of the tokens, with at least one document on each side.
    ///
    /// The split is not random, because neighbouring documents are similar (paragraphs of one article, versions of one
    /// page), and having them on both sides would make the evaluation too optimistic. Both sides are contiguous and no
    /// document is cut. If a corpus is sorted, shuffle its documents first or pass separate evaluation texts.
    pub fn split(&self, fraction: f64) -> Result<(Range<usize>, Range<usize>)> {
        let n = self.n_documents();
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::Value(format!("the held-out fraction is {fraction}; expected between 0 and 1")));
        }
        if n < 2 {
            return Err(Error::Data(format!(
                "the corpus has {n} document, of which nothing can be held out; give texts to evaluate on"
            )));
        }
        let first = self.n_tokens() as f64 * (1.0 - fraction);
        let cut = self.starts().partition_point(|&start| (start as f64) < first).clamp(1, n - 1);
        Ok((0..cut, cut..n))
    }
}
