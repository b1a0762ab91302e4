//! Texts into the file of a corpus, tokenised in parallel, a few of them at a time.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::cut::{Cutter, PIECE};
use super::file::{CONTINUES, Corpus, Header};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::text::Tokenizer;

/// Writes a corpus; nothing is there before [`CorpusWriter::finish`].
pub struct CorpusWriter {
    tokenizer: Arc<Tokenizer>,
    cutter: Cutter,
    staged: Staged,
    path: PathBuf,
    written: PathBuf,
    file: BufWriter<File>,
    n_tokens: u64,
    starts: Vec<u64>,
    /// The end of a document that is to be continued, and the character before it.
    open: Option<(String, Option<char>)>,
}

/// A piece of a document: its text, what stands before it, and whether the document ends with it.
struct Piece<'a> {
    text: &'a str,
    before: Option<char>,
    is_last: bool,
}

impl CorpusWriter {
    /// Into the file `path`, in a directory that is made if it is not there.
    pub fn create(path: &Path, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::Value(format!("{}: is no name of a file", path.display())));
        };
        let mut staged = Staged::begin(directory)?;
        let written = staged.reserve(name)?;
        let mut file = BufWriter::new(File::create(&written).map_err(|e| Error::io(&written, e))?);
        file.write_all(&[0; Header::BYTES]).map_err(|e| Error::io(&written, e))?;
        let cutter = Cutter::of(&tokenizer)?;
        Ok(Self {
            tokenizer,
            cutter,
            staged,
            path: path.to_path_buf(),
            written,
            file,
            n_tokens: 0,
            starts: vec![0],
            open: None,
        })
    }

    /// Add texts, each a document; the last one, if it is `open`, goes on with the first text that is added next. Documents
    /// without a token are left out. Memory is a small multiple of these texts.
    pub fn add(&mut self, texts: &[String], open: bool) -> Result<()> {
        let mut texts = texts.to_vec();
        let last = texts.len().saturating_sub(1);
        let Some(first) = texts.first_mut() else { return Ok(()) };
        let mut before = None;
        if let Some((begun, character)) = self.open.take() {
            first.insert_str(0, &begun);
            before = character;
        }
        let mut pieces = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let (mut rest, mut before) = (text.as_str(), if i == 0 { before } else { None });
            while rest.len() > PIECE {
                let (end, next) = self.cutter.cut(rest);
                pieces.push(Piece { text: &rest[..end], before, is_last: false });
                before = rest[..next].chars().next_back();
                rest = &rest[next..];
            }
            if open && i == last {
                self.open = Some((rest.to_string(), before));
            } else {
                pieces.push(Piece { text: rest, before, is_last: true });
            }
        }
        let encode = |piece: &Piece| self.tokenizer.encode_words(piece.text, piece.before);
        let encoded = in_pool(|| pieces.par_iter().map(encode).collect::<Result<Vec<_>>>())?;
        for (piece, tokens) in pieces.iter().zip(encoded) {
            self.n_tokens += tokens.len() as u64;
            let stored = |(id, continues): (u32, bool)| (id | if continues { CONTINUES } else { 0 }).to_ne_bytes();
            let bytes: Vec<u8> = tokens.into_iter().flat_map(stored).collect();
            self.file.write_all(&bytes).map_err(|e| Error::io(&self.written, e))?;
            if piece.is_last && self.starts.last() != Some(&self.n_tokens) {
                self.starts.push(self.n_tokens);
            }
        }
        Ok(())
    }

    /// Documents so far.
    pub fn n_documents(&self) -> usize {
        self.starts.len() - 1
    }

    /// Put the file in its place, whole. An error if there is no document.
    pub fn finish(mut self) -> Result<Corpus> {
        if self.open.is_some() {
            self.add(&[String::new()], false)?;
        }
        if self.n_documents() == 0 {
            return Err(Error::Data("the corpus is empty: no document has a token".into()));
        }
        let vocab_size = self.tokenizer.vocab_size() as u32;
        let header = Header { vocab_size, n_tokens: self.n_tokens, n_documents: self.n_documents() as u64 };
        let mut write = || -> std::io::Result<()> {
            if self.n_tokens % 2 == 1 {
                self.file.write_all(&[0; 4])?;
            }
            self.file.write_all(bytemuck::cast_slice(&self.starts))?;
            self.file.rewind()?;
            self.file.write_all(&header.to_bytes())?;
            self.file.flush()
        };
        write().map_err(|e| Error::io(&self.written, e))?;
        drop(self.file);
        self.staged.commit(|_| Ok(Vec::new()))?;
        Corpus::open(&self.path)
    }
}
