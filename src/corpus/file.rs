//! The file of a corpus: a header, tokens, starts of documents.
//!
//! Numbers in the machine's own order, so that the file is read where it lies; the magic number reads otherwise where the
//! order is another one. Header: magic `u64`, version `u32`, vocabulary size `u32`, tokens `u64` (`T`), documents `u64`
//! (`N`). Then `T` tokens `u32`, padded to 8 bytes, then `N + 1` starts `u64`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::compute::MappedFile;
use crate::error::{Error, Result};

/// Set in a token that continues the word which the token before it belongs to.
pub const CONTINUES: u32 = 1 << 31;

const MAGIC: u64 = u64::from_be_bytes(*b"wscorpus");
/// Of the file's layout, and of what the tokens of a text are.
const VERSION: u32 = 1;

/// The id of a stored token, and whether it continues a word.
pub fn token(stored: u32) -> (u32, bool) {
    (stored & !CONTINUES, stored & CONTINUES != 0)
}

/// What the file begins with.
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

    /// Where the tokens and the starts lie; none where no file is that long.
    fn ranges(self) -> Option<(Range<usize>, Range<usize>)> {
        let tokens = usize::try_from(self.n_tokens).ok()?.checked_mul(4)?.checked_add(Self::BYTES)?;
        let starts = tokens.checked_next_multiple_of(8)?;
        let end = usize::try_from(self.n_documents).ok()?.checked_add(1)?.checked_mul(8)?.checked_add(starts)?;
        Some((Self::BYTES..tokens, starts..end))
    }
}

/// `T` tokens of `N` documents in a mapped file. Immutable, cheap to clone. Documents have at least one token.
#[derive(Clone)]
pub struct Corpus {
    name: Arc<str>,
    map: Arc<MappedFile>,
    vocab_size: usize,
    tokens: Range<usize>,
    starts: Range<usize>,
}

impl Corpus {
    /// Map a file that a [`CorpusWriter`](super::CorpusWriter) made. Its starts are checked; of its tokens only those that
    /// are used are read.
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

    /// What its file is called, which in a cache says what its content is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of the vocabulary that its ids are of.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The number of documents, `N`.
    pub fn n_documents(&self) -> usize {
        self.starts().len().saturating_sub(1)
    }

    /// Tokens in all documents, `T`.
    pub fn n_tokens(&self) -> usize {
        self.tokens().len()
    }

    /// All tokens as they are stored, document after document, `[T]`; see [`token`].
    pub fn tokens(&self) -> &[u32] {
        // The map begins with a page, and so both parts are aligned.
        bytemuck::try_cast_slice(self.map.get(self.tokens.clone()).unwrap_or_default()).unwrap_or_default()
    }

    /// Where each document begins, and the end, `[N + 1]`.
    pub(super) fn starts(&self) -> &[u64] {
        bytemuck::try_cast_slice(self.map.get(self.starts.clone()).unwrap_or_default()).unwrap_or_default()
    }

    /// The tokens of a document as they are stored; none beyond the last.
    pub fn document(&self, document: usize) -> &[u32] {
        let range =
            self.starts().get(document..).and_then(|starts| Some(*starts.first()? as usize..*starts.get(1)? as usize));
        range.and_then(|range| self.tokens().get(range)).unwrap_or_default()
    }

    /// Documents to train on, and the last ones, kept to evaluate on: as many as hold at most `fraction` of the tokens, at
    /// least one on each side.
    ///
    /// The last ones, not some chosen at random: what stands together in a file is alike (paragraphs of one article,
    /// versions of one page), and dealt out to both sides it would flatter the evaluation. It leaves both sides in one
    /// stretch, each document whole. Where a corpus is sorted, shuffle its documents or give texts of their own.
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
