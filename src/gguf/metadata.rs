//! The metadata of a GGUF file: values by key. Arrays stay in the file and are decoded on request.

use std::collections::BTreeMap;
use std::ops::Range;

use super::reader::{Checked, Reader};

/// A metadata value. Numbers are widened to the largest type of their kind.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Array(Array),
}

/// An array: element type, number of elements, and byte range in the file.
#[derive(Debug, Clone)]
pub(super) struct Array {
    kind: u32,
    len: u64,
    bytes: Range<usize>,
}

/// Metadata values by key.
#[derive(Debug, Default)]
pub(super) struct Metadata(BTreeMap<String, Value>);

const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Size in bytes of a value of fixed size; None for other types.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn read_value(reader: &mut Reader, kind: u32) -> Checked<Value> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(reader.array()?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.array()?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.array()?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.array()?).into()),
        4 => Value::Integer(u32::from_le_bytes(reader.array()?).into()),
        5 => Value::Integer(i32::from_le_bytes(reader.array()?).into()),
        // Parsed from the shortest decimal, so that 1e-5 stays 1e-5 and is not 9.999999747378752e-6.
        6 => Value::Float(f32::from_le_bytes(reader.array()?).to_string().parse().unwrap_or(f64::NAN)),
        7 => match reader.array()? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return Err(format!("has the truth value {other}; expected 0 or 1")),
        },
        TEXT => Value::Text(reader.text()?.to_string()),
        ARRAY => Value::Array(read_array(reader)?),
        10 => Value::Integer(u64::from_le_bytes(reader.array()?).into()),
        11 => Value::Integer(i64::from_le_bytes(reader.array()?).into()),
        12 => Value::Float(f64::from_le_bytes(reader.array()?)),
        other => return Err(format!("has a value of the unknown type {other}")),
    })
}

/// Skips an array and records its position.
fn read_array(reader: &mut Reader) -> Checked<Array> {
    let (kind, len) = (reader.u32()?, reader.u64()?);
    let start = reader.at;
    match width(kind) {
        Some(width) => {
            reader.take(len.saturating_mul(width))?;
        }
        None if kind == TEXT => {
            for _ in 0..len {
                let bytes = reader.u64()?;
                reader.take(bytes)?;
            }
        }
        // As in llama.cpp: the format allows arrays of arrays, but no file has them.
        None => return Err(format!("has an array of the type {kind}; supported: numbers and texts")),
    }
    Ok(Array { kind, len, bytes: start..reader.at })
}

impl Metadata {
    pub fn read(reader: &mut Reader, n_entries: u64) -> Checked<Self> {
        let mut values = BTreeMap::new();
        for _ in 0..n_entries {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = read_value(reader, kind).map_err(|e| format!("metadata {key:?}: {e}"))?;
            if values.insert(key.to_string(), value).is_some() {
                return Err(format!("has the metadata {key:?} twice"));
            }
        }
        Ok(Self(values))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub fn text(&self, key: &str) -> Checked<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{key} is {}; expected text", show(other))),
        }
    }

    pub fn flag(&self, key: &str) -> Checked<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("{key} is {}; expected true or false", show(other))),
        }
    }

    /// An integer from 0 to 2^32 - 1.
    pub fn count(&self, key: &str) -> Checked<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) if u32::try_from(*n).is_ok() => Ok(Some(*n as usize)),
            Some(other) => Err(format!("{key} is {}; expected a whole number from 0 to 2^32 - 1", show(other))),
        }
    }

    pub fn number(&self, key: &str) -> Checked<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            Some(other) => Err(format!("{key} is {}; expected a number", show(other))),
        }
    }

    /// Strings of an array, which lie in the file's `bytes`.
    pub fn texts<'a>(&self, key: &str, bytes: &'a [u8]) -> Checked<Option<Vec<&'a str>>> {
        let Some((array, mut reader)) = self.array(key, bytes)? else { return Ok(None) };
        if array.kind != TEXT {
            return Err(format!("{key} is not an array of texts"));
        }
        (0..array.len).map(|_| reader.text()).collect::<Checked<_>>().map(Some).map_err(|e| format!("{key} {e}"))
    }

    /// Numbers of an array, which lie in the file's `bytes`.
    pub fn numbers(&self, key: &str, bytes: &[u8]) -> Checked<Option<Vec<f64>>> {
        let Some((array, mut reader)) = self.array(key, bytes)? else { return Ok(None) };
        let number = |value| match value {
            Value::Integer(n) => Ok(n as f64),
            Value::Float(x) if x.is_finite() => Ok(x),
            _ => Err(format!("{key} is not an array of finite numbers")),
        };
        if array.kind == TEXT {
            return Err(format!("{key} is not an array of finite numbers"));
        }
        (0..array.len).map(|_| read_value(&mut reader, array.kind).and_then(number)).collect::<Checked<_>>().map(Some)
    }

    fn array<'a>(&self, key: &str, bytes: &'a [u8]) -> Checked<Option<(&Array, Reader<'a>)>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => {
                let bytes = bytes.get(array.bytes.clone()).unwrap_or_default();
                Ok(Some((array, Reader { bytes, at: 0 })))
            }
            Some(other) => Err(format!("{key} is {}; expected an array", show(other))),
        }
    }
}

/// Formats a value for an error message.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Bool(x) => x.to_string(),
        Value::Integer(x) => x.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Array(array) => format!("an array of {}", array.len),
    }
}
