//! Objects of a pickled state dict: known names, storages, tensors, tuples and dicts.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::DType;

/// Most keys of entries other than tensors in a message.
const MAX_KEYS: usize = 6;
const MAX_DIMENSIONS: usize = 8;

/// A tensor of a state dict: a view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// Name of the storage's file.
    pub storage: Rc<str>,
    /// None for integers and booleans: buffers, which are never parameters.
    pub dtype: Option<DType>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

pub(super) type Parsed<T> = Result<T, String>;

#[derive(Clone)]
pub(super) enum Object {
    None,
    Bool,
    Int(i64),
    Text(Rc<str>),
    Name(Name),
    Tuple(Rc<[Object]>, usize),
    /// Entries other than tensors, such as `_metadata`, are dropped; only a few of their keys are kept.
    Dict(Rc<RefCell<Dict>>),
    Storage(Rc<str>, Option<DType>),
    Tensor(Rc<View>),
}

#[derive(Default)]
pub(super) struct Dict {
    pub tensors: Vec<(Rc<str>, Rc<View>)>,
    /// The first few keys of entries that are not tensors.
    pub others: Vec<Rc<str>>,
    /// True if the key of an entry is not a string.
    has_nameless: bool,
    /// The key of the first entry that is itself a dict of tensors.
    pub inner: Option<Rc<str>>,
}

/// The names that occur in a state dict.
#[derive(Clone, Copy)]
pub(super) enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Option<DType>),
}

impl Dict {
    pub(super) fn add(&mut self, key: &Object, value: &Object) {
        match (key, value) {
            (Object::Text(name), Object::Tensor(view)) => self.tensors.push((name.clone(), view.clone())),
            (Object::Text(name), value) => {
                if let Object::Dict(inner) = value
                    // A dict may contain itself.
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

    pub(super) fn holds_tensors_alone(&self) -> bool {
        self.others.is_empty() && !self.has_nameless
    }

    /// The error message for a file that holds more than tensors.
    pub(super) fn refused(&self) -> String {
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

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Name {
    pub(super) fn of(module: &str, name: &str) -> Parsed<Self> {
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
pub(super) fn storage(id: Object) -> Parsed<Object> {
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

pub(super) fn call(name: Object, arguments: Object) -> Parsed<Object> {
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
