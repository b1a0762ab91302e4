//! Reads the pickle inside a PyTorch checkpoint, limited to state dicts written by `torch.save` (pickle protocol 2).
//!
//! Nothing is executed: the only known names are torch's tensors and storages and `OrderedDict`; any other is an error.
//! Memory stays below a small multiple of the pickle's size: the stack is bounded, objects read from the memo are
//! shared, and containers hold only tensors.

use std::collections::HashMap;
use std::rc::Rc;

use super::pickle_object::{Dict, Name, Object, Parsed, View, call, storage};

/// Most objects on the stack at a time; Python writes dicts in pieces of 2,000.
const MAX_STACK: usize = 1 << 14;
/// Deepest nesting of tuples; a tensor's arguments contain a storage or a shape.
const MAX_DEPTH: usize = 4;

/// Names and tensors of the state dict `pickle`.
pub(super) fn state_dict(pickle: &[u8]) -> Parsed<Vec<(String, View)>> {
    let mut machine = Machine { bytes: pickle, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        match machine.step() {
            Ok(false) => {}
            Ok(true) => break,
            // Whatever follows the names of a training state may be unreadable.
            Err(e) => return Err(machine.training_state().unwrap_or(e)),
        }
    }
    let Object::Dict(dict) = machine.pop()? else { return Err("does not hold a state dict".into()) };
    let dict = dict.borrow();
    if !dict.holds_tensors_alone() {
        return Err(dict.refused());
    }
    Ok(dict.tensors.iter().map(|(name, view)| (name.to_string(), View::clone(view))).collect())
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Object>,
    /// Stack index of each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
}

impl<'a> Machine<'a> {
    /// Execute one instruction; true at the end.
    fn step(&mut self) -> Parsed<bool> {
        let [code] = self.take()?;
        match code {
            // PROTO, STOP
            0x80 => match self.take()? {
                [2] => {}
                [version] => {
                    return Err(format!("has pickle protocol {version}; supported: 2, which torch.save writes"));
                }
            },
            b'.' => return Ok(true),
            // MARK, and the tuples and dict entries since
            b'(' => {
                if self.marks.len() >= MAX_STACK {
                    return Err("has too many marks".into());
                }
                self.marks.push(self.stack.len());
            }
            b't' => {
                let items = self.since_mark()?;
                self.tuple(items)?;
            }
            b')' => self.tuple(Vec::new())?,
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or("has an empty stack")?;
                let items = self.stack.split_off(start);
                self.tuple(items)?;
            }
            b'}' => self.push(Object::Dict(Rc::default()))?,
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(items)?;
            }
            b's' => {
                let start = self.stack.len().checked_sub(2).ok_or("has an empty stack")?;
                let items = self.stack.split_off(start);
                self.set_items(items)?;
            }
            // BUILD sets attributes of an OrderedDict, which are not needed
            b'b' => drop(self.pop()?),
            // Constants
            b'N' => self.push(Object::None)?,
            0x88 | 0x89 => self.push(Object::Bool)?,
            b'K' => {
                let [value] = self.take()?;
                self.push(Object::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Object::Int(value.into()))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Object::Int(value.into()))?;
            }
            0x8a => {
                let [length] = self.take()?;
                let digits = self.slice(length.into())?;
                let mut value = [0; 8];
                value.get_mut(..digits.len()).ok_or("has an integer above 64 bits")?.copy_from_slice(digits);
                // A negative number cannot be one of a tensor's sizes; it is refused as too large.
                self.push(Object::Int(i64::from_le_bytes(value)))?;
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                let text =
                    std::str::from_utf8(self.slice(length as usize)?).map_err(|_| "has text that is not UTF-8")?;
                self.push(Object::Text(text.into()))?;
            }
            // The memo
            b'q' => {
                let [key] = self.take()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.take()?);
                self.remember(key)?;
            }
            b'h' => {
                let [key] = self.take()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.take()?);
                self.recall(key)?;
            }
            // Names (GLOBAL), and calls of them
            b'c' => {
                let name = Name::of(self.line()?, self.line()?)?;
                self.push(Object::Name(name))?;
            }
            b'Q' => {
                let storage = storage(self.pop()?)?;
                self.push(storage)?;
            }
            b'R' => {
                let (arguments, name) = (self.pop()?, self.pop()?);
                let object = call(name, arguments)?;
                self.push(object)?;
            }
            other => {
                return Err(format!(
                    "has the pickle instruction {other:#04x}, which a state dict does not need; save model.state_dict() alone"
                ));
            }
        }
        Ok(false)
    }

    fn slice(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or("ends too early; download it again")?;
        self.at += length;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("ends too early; download it again")?;
        let line = self.slice(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "has a name that is not UTF-8".into())
    }

    fn push(&mut self, object: Object) -> Parsed<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(format!("has more than {MAX_STACK} objects that belong to nothing"));
        }
        self.stack.push(object);
        Ok(())
    }

    fn pop(&mut self) -> Parsed<Object> {
        self.stack.pop().ok_or_else(|| "has an empty stack".into())
    }

    fn since_mark(&mut self) -> Parsed<Vec<Object>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or("has no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: Vec<Object>) -> Parsed<()> {
        let depth = |item: &Object| if let Object::Tuple(_, depth) = item { *depth } else { 0 };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err("has tuples nested too deep".into());
        }
        self.push(Object::Tuple(items.into(), depth))
    }

    fn set_items(&mut self, items: Vec<Object>) -> Parsed<()> {
        let Some(Object::Dict(dict)) = self.stack.last() else { return Err("sets entries of what is no dict".into()) };
        let (pairs, []) = items.as_chunks() else { return Err("has a key without a value".into()) };
        let mut dict = dict.borrow_mut();
        for [key, value] in pairs {
            dict.add(key, value);
        }
        Ok(())
    }

    /// The error message if reading failed inside a dict that holds more than tensors; its entries so far are on the
    /// stack.
    fn training_state(&self) -> Option<String> {
        let Some(Object::Dict(outer)) = self.stack.first() else { return None };
        let mut dict = Dict::default();
        {
            let outer = outer.try_borrow().ok()?;
            dict.others.clone_from(&outer.others);
            dict.inner.clone_from(&outer.inner);
        }
        let end = self.marks.get(1).map_or(self.stack.len(), |&mark| mark.min(self.stack.len()));
        for pair in self.stack.get(1..end)?.chunks(2) {
            match pair {
                [key @ Object::Text(_), value] => dict.add(key, value),
                // The key whose value was being read; it is reported only after other keys.
                [key @ Object::Text(_)] if !dict.others.is_empty() => dict.add(key, &Object::None),
                _ => break,
            }
        }
        (dict.tensors.is_empty() && !dict.others.is_empty()).then(|| dict.refused())
    }

    fn remember(&mut self, key: u32) -> Parsed<()> {
        let object = self.stack.last().ok_or("has an empty stack")?.clone();
        self.memo.insert(key, object);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Parsed<()> {
        let object = self.memo.get(&key).ok_or("recalls what it never remembered")?.clone();
        self.push(object)
    }
}

#[cfg(test)]
mod tests {
    use super::state_dict;

    #[test]
    fn pickle_when_it_is_made_to_harm_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let begin = &b"\x80\x02"[..];
        // Each round stores a tuple of two copies of the last one: 2^20 objects if they were copied, and ever deeper.
        let doubling = [begin, b")q\x00", &b"h\x00h\x00\x86q\x00".repeat(20)].concat();
        for (pickle, expected) in [
            ([begin, b"cos\nsystem\n(X\x04\0\0\0trueK\x01tR."].concat(), "names os.system"),
            ([begin, b"X\xff\xff\xff\xffabc"].concat(), "ends too early"),
            ([begin, b"c", &[b'a'; 1000]].concat(), "ends too early"),
            ([begin, &b"N".repeat(100_000)].concat(), "more than 16384 objects"),
            ([begin, &b"(".repeat(100_000)].concat(), "too many marks"),
            (doubling, "nested too deep"),
            ([begin, b"N."].concat(), "does not hold a state dict"),
            ([begin, b"}X\x01\0\0\0aK\x01s."].concat(), "holds \"a\", which is not a tensor"),
            ([begin, b"}(X\x01\0\0\0aK\x01X\x01\0\0\0bNu."].concat(), "holds \"a\", \"b\", which are not tensors"),
            ([begin, b"}(K\x01K\x02u."].concat(), "holds an entry without a name"),
            ([begin, b"}q\0X\x01\0\0\0ah\0s."].concat(), "holds \"a\", which is not a tensor"),
            // A training state: the unreadable part follows its names, in a list or in another dict.
            ([begin, b"}(X\x01\0\0\0aK\x01X\x01\0\0\0bG12345678"].concat(), "holds \"a\", \"b\", which"),
            ([begin, b"}(X\x01\0\0\0aK\x01X\x01\0\0\0b}(X\x01\0\0\0c]"].concat(), "holds \"a\", \"b\", which"),
            ([begin, b"}(K\x01u."].concat(), "a key without a value"),
            ([begin, b"}h\x07."].concat(), "recalls what it never remembered"),
            ([begin, b"\x8a\x09123456789."].concat(), "above 64 bits"),
            (b"\x80\x04}.".to_vec(), "pickle protocol 4"),
        ] {
            let error = state_dict(&pickle).err().ok_or(expected)?;
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        }
        Ok(())
    }
}
