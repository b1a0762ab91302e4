//! Reads documents from plain text and JSON lines files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::writer::CorpusWriter;
use crate::error::{Error, Result};

/// Longest part of a plain-text line held in memory at once, in bytes.
const LINE: usize = 1 << 20;

/// Longest JSON line that is read, in bytes; its document is held in memory twice.
const JSON_LINE: usize = 1 << 28;

/// What to do with an unreadable line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Stop reading with an error.
    Stop,
    /// Skip and count it. Plain-text lines are read in parts of 1 MiB; only the unreadable part is skipped.
    Skip,
}

/// Summary of the skipped lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Number of skipped lines.
    pub count: usize,
    /// The first skipped line: file, line number, reason.
    pub first: Option<String>,
}

/// A UTF-8 file of documents.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Field that holds the text in a JSON lines file (one object per line). None for plain text, where blank lines
    /// separate documents (as in BERT's `create_pretraining_data.py`).
    pub field: Option<String>,
    /// What to do with an unreadable line.
    pub on_error: OnError,
}

impl TextFile {
    /// Adds the documents of the file to `writer`. `progress` is called with the number of bytes read; an error from it
    /// stops the reading.
    pub fn add_to(&self, writer: &mut CorpusWriter, mut progress: impl FnMut(u64) -> Result<()>) -> Result<Skipped> {
        let mut lines = Lines::open(&self.path, if self.field.is_some() { JSON_LINE } else { LINE })?;
        let mut skipped = Skipped::default();
        let mut reported = 0;
        while lines.next()? {
            let added = match &self.field {
                Some(_) if !lines.is_start => continue,
                Some(_) if !lines.is_end => Ok(Err(format!(
                    "is longer than {} MiB; split the document, or give it as a .txt file",
                    JSON_LINE >> 20
                ))),
                Some(field) => add_json(&lines, field, writer),
                None => add_plain(&lines, writer),
            };
            match added? {
                Ok(()) => {}
                Err(reason) => {
                    let place = format!("{}, line {}: {reason}", self.path.display(), lines.number);
                    if self.on_error == OnError::Stop {
                        return Err(Error::Data(format!(
                            "{place}; mend it, or leave out such lines: on_error=\"skip\""
                        )));
                    }
                    skipped.count += 1;
                    skipped.first.get_or_insert(place);
                }
            }
            if lines.read - reported >= LINE as u64 {
                reported = lines.read;
                progress(reported)?;
            }
        }
        if writer.is_in_document() {
            writer.end_document()?;
        }
        progress(lines.read)?;
        Ok(skipped)
    }
}

/// Ok, or the reason why a line was not added.
type Added = std::result::Result<(), String>;

fn add_json(line: &Lines, field: &str, writer: &mut CorpusWriter) -> Result<Added> {
    let text = match std::str::from_utf8(&line.bytes) {
        Ok(text) => text.trim(),
        Err(e) => return Ok(Err(not_utf8(&e))),
    };
    if text.is_empty() {
        return Ok(Ok(()));
    }
    let text = match serde_json::from_str(text) {
        Ok(Value::Object(mut object)) => match object.remove(field) {
            Some(Value::String(text)) => text,
            Some(other) => return Ok(Err(format!("the field {field:?} is {}, no text", kind(&other)))),
            None => {
                let fields: Vec<&String> = object.keys().take(10).collect();
                return Ok(Err(format!("has no field {field:?}, but {fields:?}; name it with text_field")));
            }
        },
        Ok(other) => return Ok(Err(format!("is {}; expected JSON lines, an object a line", kind(&other)))),
        Err(e) => return Ok(Err(format!("is not JSON ({e}); expected JSON lines, an object a line"))),
    };
    writer.add(&[text]).map(Ok)
}

fn add_plain(line: &Lines, writer: &mut CorpusWriter) -> Result<Added> {
    let text = match std::str::from_utf8(&line.bytes) {
        Ok(text) => text,
        Err(e) => return Ok(Err(not_utf8(&e))),
    };
    if line.is_start && line.is_end && text.trim().is_empty() {
        return if writer.is_in_document() { writer.end_document().map(Ok) } else { Ok(Ok(())) };
    }
    if line.is_start && writer.is_in_document() {
        writer.add_piece("\n")?;
    }
    writer.add_piece(text).map(Ok)
}

fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!("is not valid UTF-8 from byte {} on", error.valid_up_to() + 1)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads a file line by line; long lines come in parts.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    longest: usize,
    /// The current line, or part of a line, without the line ending.
    bytes: Vec<u8>,
    /// In a long line, the first bytes of a character that continues in the next part.
    rest: Vec<u8>,
    /// Line number, from 1.
    number: usize,
    is_start: bool,
    is_end: bool,
    /// Number of bytes of the file read so far.
    read: u64,
}

impl Lines {
    fn open(path: &Path, longest: usize) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            longest,
            bytes: Vec::new(),
            rest: Vec::new(),
            number: 0,
            is_start: true,
            is_end: true,
            read: 0,
        })
    }

    /// Reads the next line or part of a line; false at the end of the file.
    fn next(&mut self) -> Result<bool> {
        self.is_start = self.is_end;
        self.number += usize::from(self.is_start);
        self.bytes = std::mem::take(&mut self.rest);
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| Error::io(&self.path, e))?;
            let is_over = buffer.is_empty();
            let room = buffer.len().min(self.longest.saturating_sub(self.bytes.len()));
            let end = buffer[..room].iter().position(|&b| b == b'\n');
            self.bytes.extend_from_slice(&buffer[..end.unwrap_or(room)]);
            let taken = end.map_or(room, |end| end + 1);
            self.reader.consume(taken);
            self.read += taken as u64;
            self.is_end = end.is_some() || is_over;
            if is_over && self.is_start && self.bytes.is_empty() {
                return Ok(false);
            }
            if self.is_end || self.bytes.len() >= self.longest {
                break;
            }
        }
        if !self.is_end {
            self.rest = self.bytes.split_off(whole(&self.bytes));
        } else if self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        if self.number == 1 && self.is_start && self.bytes.starts_with("\u{feff}".as_bytes()) {
            self.bytes.drain(..3);
        }
        Ok(true)
    }
}

/// Length without the bytes of an incomplete character at the end.
fn whole(bytes: &[u8]) -> usize {
    let is_cut = |start: &usize| {
        std::str::from_utf8(&bytes[*start..]).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    };
    (bytes.len().saturating_sub(3)..bytes.len()).find(is_cut).unwrap_or(bytes.len())
}
