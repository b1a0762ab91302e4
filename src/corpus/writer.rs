//! Tokenises texts and writes a corpus file.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::cut::{Cutter, PIECE, boundary_below};
use super::file::{CONTINUES, Corpus, Header};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::text::Tokenizer;

/// Bytes of text tokenised together: enough pieces for every thread.
const CHUNK: usize = 4 << 20;

/// A part of a document that is tokenised separately.
struct Piece {
    text: String,
    /// The character before it in its document, None at the start.
    before: Option<char>,
    ends_document: bool,
}

/// Tokenises texts in parallel, without special tokens, and writes the tokens to disk as they come. Memory is bounded
/// by what is passed in one call, never by the length of a document. If dropped before [`CorpusWriter::finish`], it
/// leaves no file.
pub struct CorpusWriter {
    tokenizer: Arc<Tokenizer>,
    vocab_size: u32,
    cutter: Cutter,
    directory: PathBuf,
    staged: Staged,
    tokens: Output,
    /// Ends of documents, kept in a second file until the number of tokens before them in the corpus file is known.
    ends: Output,
    n_tokens: u64,
    n_documents: u64,
    /// Text of the current document that is not yet in a piece, and in `before` the character before it.
    open: String,
    before: Option<char>,
    pieces: Vec<Piece>,
    in_pieces: usize,
    /// Number of tokens before the document that is being tokenised.
    document_start: u64,
}

/// A file and its path, which error messages name (for example if the disk is full).
struct Output(BufWriter<File>, PathBuf);

impl Output {
    fn create(path: PathBuf) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self(BufWriter::with_capacity(1 << 16, file), path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|e| Error::io(&self.1, e))
    }

    /// Flushes all writes and moves to `position`.
    fn seek(&mut self, position: u64) -> Result<()> {
        self.0.seek(SeekFrom::Start(position)).map(drop).map_err(|e| Error::io(&self.1, e))
    }
}

const TOKENS: &str = "tokens";

impl CorpusWriter {
    /// Starts a corpus file in `directory`, which is created if missing.
    pub fn create(directory: &Path, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let vocab_size = u32::try_from(tokenizer.vocab_size()).ok().filter(|&n| n <= CONTINUES);
        let vocab_size =
            vocab_size.ok_or_else(|| Error::Value(format!("the tokenizer has ids of {CONTINUES} or more")))?;
        let cutter = Cutter::of(&tokenizer)?;
        let staged = Staged::begin(directory)?;
        let mut tokens = Output::create(staged.directory().join(TOKENS))?;
        tokens.write(&[0; Header::BYTES])?;
        let ends = Output::create(staged.directory().join("ends"))?;
        Ok(Self {
            tokenizer,
            vocab_size,
            cutter,
            directory: directory.to_path_buf(),
            staged,
            tokens,
            ends,
            n_tokens: 0,
            n_documents: 0,
            open: String::new(),
            before: None,
            pieces: Vec::new(),
            in_pieces: 0,
            document_start: 0,
        })
    }

    /// Adds texts, each one document. Texts without tokens are dropped.
    pub fn add(&mut self, texts: &[String]) -> Result<()> {
        for text in texts {
            self.add_piece(text)?;
            self.end_document()?;
        }
        Ok(())
    }

    /// Adds the next part of a document, which may be cut anywhere; [`CorpusWriter::end_document`] ends the document.
    pub fn add_piece(&mut self, text: &str) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(boundary_below(rest, CHUNK));
            self.open.push_str(head);
            self.cut()?;
            rest = tail;
        }
        Ok(())
    }

    /// Ends the current document.
    pub fn end_document(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.open);
        let before = self.before.take();
        self.push(Piece { text, before, ends_document: true })
    }

    /// True if a document was started and not ended.
    pub(super) fn is_in_document(&self) -> bool {
        !self.open.is_empty() || self.before.is_some()
    }

    /// Moves text beyond one piece from `open` to the pieces.
    fn cut(&mut self) -> Result<()> {
        let open = std::mem::take(&mut self.open);
        let mut rest = open.as_str();
        while rest.len() > PIECE {
            let (end, next) = self.cutter.cut(rest);
            self.push(Piece { text: rest[..end].to_string(), before: self.before, ends_document: false })?;
            self.before = rest[..next].chars().next_back();
            rest = &rest[next..];
        }
        self.open = rest.to_string();
        Ok(())
    }

    fn push(&mut self, piece: Piece) -> Result<()> {
        // Small pieces cost more memory than their text.
        self.in_pieces += piece.text.len() + size_of::<Piece>();
        self.pieces.push(piece);
        if self.in_pieces >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Tokenises the pieces and writes their tokens.
    fn flush(&mut self) -> Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        self.in_pieces = 0;
        let stored = |(id, continues): (u32, bool)| id | if continues { CONTINUES } else { 0 };
        let encode = |piece: &Piece| -> Result<Vec<u32>> {
            let tokens = self.tokenizer.encode_words(&piece.text, piece.before)?;
            match tokens.iter().find(|(id, _)| *id >= self.vocab_size) {
                Some((id, _)) => {
                    Err(Error::Data(format!("the tokenizer gives the id {id}, which is not in its vocabulary")))
                }
                None => Ok(tokens.into_iter().map(stored).collect()),
            }
        };
        let encoded: Result<Vec<Vec<u32>>> = in_pool(|| pieces.par_iter().map(encode).collect());
        for (piece, mut tokens) in pieces.iter().zip(encoded?) {
            // The first piece of a document may have been only whitespace, without tokens.
            if self.n_tokens == self.document_start
                && let Some(first) = tokens.first_mut()
            {
                *first &= !CONTINUES;
            }
            self.tokens.write(bytemuck::cast_slice(&tokens))?;
            self.n_tokens += tokens.len() as u64;
            if piece.ends_document && self.n_tokens > self.document_start {
                self.ends.write(&self.n_tokens.to_ne_bytes())?;
                self.n_documents += 1;
                self.document_start = self.n_tokens;
            }
        }
        Ok(())
    }

    /// Writes the file under `name` in the directory, atomically, and opens it. Returns an error if there are no
    /// tokens.
    pub fn finish(mut self, name: &str) -> Result<Corpus> {
        if self.is_in_document() {
            self.end_document()?;
        }
        self.flush()?;
        if self.n_tokens == 0 {
            return Err(Error::Data("the corpus is empty: none of its texts has a token in it".into()));
        }
        let padding = (self.n_tokens % 2) as usize * 4;
        self.tokens.write(&[0; 4][..padding])?;
        self.tokens.write(&0u64.to_ne_bytes())?;
        self.ends.seek(0)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = self.ends.0.get_mut().read(&mut buffer).map_err(|e| Error::io(&self.ends.1, e))?;
            if n == 0 {
                break;
            }
            self.tokens.write(&buffer[..n])?;
        }
        self.tokens.seek(0)?;
        let header = Header { vocab_size: self.vocab_size, n_tokens: self.n_tokens, n_documents: self.n_documents };
        self.tokens.write(&header.to_bytes())?;
        self.tokens.0.flush().map_err(|e| Error::io(&self.tokens.1, e))?;
        let path = self.staged.reserve(name)?;
        std::fs::rename(&self.tokens.1, &path).map_err(|e| Error::io(&path, e))?;
        self.staged.commit(|_| Ok(Vec::new()))?;
        Corpus::open(&self.directory.join(name))
    }
}
