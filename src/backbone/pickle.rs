//! The pickle inside a PyTorch checkpoint, as far as `torch.save` of a state dict goes (pickle protocol 2).
//!
//! Nothing is executed: the only names that mean anything are those of torch's tensors and storages and of `OrderedDict`, and
//! any other is an error. Memory stays below a small multiple of the pickle: what is pushed is bounded, what is read again
//! from the memo is shared, and containers hold tensors only.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use candle_core::DType;

/// A tensor of a state dict: a view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The name of the storage's file.
    pub storage: Rc<str>,
    /// None for integers and truth values: buffers, which no parameter is.
    pub dtype: Option<DType>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Objects on the stack at a time: Python writes dicts in pieces of 2,000.
const MAX_STACK: usize = 1 << 14;
/// Keys of entries that are no tensors, for the message.
const MAX_KEYS: usize = 6;
/// Tuples in tuples: a tensor's arguments have a storage or a shape inside.
const MAX_DEPTH: usize = 4;
const MAX_DIMENSIONS: usize = 8;

type Parsed<T> = Result<T, String>;
type Tensors = Vec<(Rc<str>, Rc<View>)>;

#[derive(Clone)]
enum Object {
    None,
    Bool,
    Int(i64),
    Text(Rc<str>),
    Name(Name),
    Tuple(Rc<[Object]>, usize),
    /// Of entries that are no tensors a few keys are kept: `_metadata` and the like.
    Dict(Rc<RefCell<Dict>>),
    Storage(Rc<str>, Option<DType>),
    Tensor(Rc<View>),
}

#[derive(Default)]
struct Dict {
    tensors: Tensors,
    /// Keys of what is no tensor, the first few of them.
    others: Vec<Rc<str>>,
    /// True if an entry's key is no text.
    has_nameless: bool,
    /// The key of the first dict of tensors among these.
    inner: Option<Rc<str>>,
}

/// The names that a state dict needs.
#[derive(Clone, Copy)]
enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Option<DType>),
}

/// Names and tensors of the state dict in `pickle`.
pub(super) fn state_dict(pickle: &[u8]) -> Parsed<Vec<(String, View)>> {
    let mut machine = Machine { bytes: pickle, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        match machine.step() {
            Ok(false) => {}
            Ok(true) => break,
            // What comes behind the names of a training state may be anything.
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

impl Dict {
    fn add(&mut self, key: &Object, value: &Object) {
        match (key, value) {
            (Object::Text(name), Object::Tensor(view)) => self.tensors.push((name.clone(), view.clone())),
            (Object::Text(name), value) => {
                if let Object::Dict(inner) = value
                    // A dict may hold itself.
                    && inner.try_borrow().is_ok_and(|inner| !inner.tensors.is_empty())
                {
                    self.inner.get_or_insert_with(|| name.clone());
                }
                if self.others.len() < MAX_KEYS {
                    self.others.push(name.clone());
                }
            }
            _ => self.has_nameless = true,
        }
    }

    fn holds_tensors_alone(&self) -> bool {
        self.others.is_empty() && !self.has_nameless
    }

    /// What to say of a file that holds more than tensors.
    fn refused(&self) -> String {
        let keys: Vec<String> = self.others.iter().map(|name| format!("{:?}", shortened(name))).collect();
        let what = match keys.len() {
            0 => "an entry without a name, which is not a tensor".into(),
            1 => format!("{}, which is not a tensor", keys.concat()),
            _ => format!("{}, which are not tensors", keys.join(", ")),
        };
        let wanted = match &self.inner {
            Some(key) => format!("torch.load(path)[{:?}] alone, with torch.save", shortened(key)),
            None => "model.state_dict() alone".into(),
        };
        format!("holds {what}; save {wanted}")
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Object>,
    /// Where on the stack each marked run begins.
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
}

impl<'a> Machine<'a> {
    /// One instruction; true at the end.
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
            // BUILD gives an OrderedDict its attributes, which nobody needs
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
                // A negative number would be none of a tensor's sizes: it is refused as too large.
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
            // Names, and what they are called with
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
            other => return Err(format!("has the pickle instruction {other:#04x}, which a state dict does not need")),
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
        pairs.iter().for_each(|[key, value]| dict.add(key, value));
        Ok(())
    }

    /// What to say where reading has ended within a dict of more than tensors: its entries so far are on the stack.
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
                // The one that was being read.
                [key @ Object::Text(_)] => dict.add(key, &Object::None),
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

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Name {
    fn of(module: &str, name: &str) -> Parsed<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Some(DType::F32)),
            ("torch", "DoubleStorage") => Self::Storage(Some(DType::F64)),
            ("torch", "HalfStorage") => Self::Storage(Some(DType::F16)),
            ("torch", "BFloat16Storage") => Self::Storage(Some(DType::BF16)),
            (
                "torch",
                "ByteStorage" | "CharStorage" | "ShortStorage" | "IntStorage" | "LongStorage" | "BoolStorage",
            ) => Self::Storage(None),
            _ => {
                let name = shortened(&format!("{module}.{name}"));
                return Err(format!(
                    "names {name}, which a state dict does not need; nothing was executed. Save model.state_dict() alone"
                ));
            }
        })
    }
}

/// `("storage", type, file, device, size)`
fn storage(id: Object) -> Parsed<Object> {
    match &id {
        Object::Tuple(items, _) => match &items[..] {
            [
                Object::Text(kind),
                Object::Name(Name::Storage(dtype)),
                Object::Text(file),
                Object::Text(_),
                Object::Int(_),
            ] if &**kind == "storage" => Ok(Object::Storage(file.clone(), *dtype)),
            _ => Err("has a storage that is described wrongly".into()),
        },
        _ => Err("has a storage that is described wrongly".into()),
    }
}

fn call(name: Object, arguments: Object) -> Parsed<Object> {
    let (Object::Name(name), Object::Tuple(arguments, _)) = (name, arguments) else {
        return Err("calls what cannot be called".into());
    };
    match (name, &arguments[..]) {
        (Name::OrderedDict, []) => Ok(Object::Dict(Rc::default())),
        (Name::RebuildParameter, [tensor @ Object::Tensor(_), ..]) => Ok(tensor.clone()),
        // Storage, offset, shape, strides, requires_grad, hooks.
        (Name::RebuildTensor, [Object::Storage(file, dtype), Object::Int(offset), shape, strides, ..]) => {
            let (shape, strides) = (sizes(shape)?, sizes(strides)?);
            if shape.len() != strides.len() {
                return Err(format!("has a tensor of {} dimensions with {} strides", shape.len(), strides.len()));
            }
            let offset = usize::try_from(*offset).map_err(|_| "has a negative offset")?;
            Ok(Object::Tensor(Rc::new(View { storage: file.clone(), dtype: *dtype, offset, shape, strides })))
        }
        _ => Err("has a tensor that is described wrongly".into()),
    }
}

fn sizes(tuple: &Object) -> Parsed<Vec<usize>> {
    match tuple {
        Object::Tuple(items, _) if items.len() <= MAX_DIMENSIONS => items
            .iter()
            .map(|item| match item {
                Object::Int(size) => usize::try_from(*size).map_err(|_| "has a negative size".to_string()),
                _ => Err("has a size that is no integer".into()),
            })
            .collect(),
        _ => Err("has a tensor that is described wrongly".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::state_dict;

    #[test]
    fn pickle_when_it_is_made_to_harm_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let begin = &b"\x80\x02"[..];
        // Each round remembers a tuple of two of the last: 2^20 objects if they were copied, and ever deeper.
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
