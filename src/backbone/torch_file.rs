//! A PyTorch checkpoint (`pytorch_model.bin`): a zip archive with a pickle of the state dict and one file per storage.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use candle_core::DType;
use half::{bf16, f16};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::state_dict;
use super::pickle_object::View;
use crate::array::Array;
use crate::compute::MappedFile;
use crate::error::{Error, Result};

/// Size in bytes of the largest accepted pickle; a hundred thousand tensors take a third of it.
const MAX_PICKLE: usize = 64 << 20;
/// Tensors may share a storage (tied weights, layers saved under two names); their total size is at most this multiple
/// of the file size.
const MAX_SHARING: usize = 4;

/// A mapped checkpoint; values are read from the file on demand.
pub(super) struct TorchFile {
    map: MappedFile,
    tensors: BTreeMap<String, (View, Range<usize>)>,
}

impl TorchFile {
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path)?;
        let tensors = read(&map)
            .map_err(|e| Error::Weights(format!("{}: cannot be read as a PyTorch checkpoint: {e}", path.display())))?;
        Ok(Self { map, tensors })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, (view, _))| (name.as_str(), view.shape.as_slice()))
    }

    /// A tensor as f32, and whether it is stored as f32; None if the file lacks it. Integers are an error.
    pub fn get(&self, name: &str) -> Option<std::result::Result<(Array, bool), String>> {
        let (view, range) = self.tensors.get(name)?;
        let Some(dtype) = view.dtype else { return Some(Err("got integers, expected floating point".into())) };
        let bytes = self.map.get(range.clone()).unwrap_or_default();
        let values = match dtype {
            DType::F64 => gather(view, bytes, |b| f64::from_le_bytes(b) as f32),
            DType::F16 => gather(view, bytes, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => gather(view, bytes, |b| bf16::from_le_bytes(b).to_f32()),
            _ => gather(view, bytes, f32::from_le_bytes),
        };
        Some(
            Array::new(values, view.shape.as_slice())
                .map(|tensor| (tensor, dtype == DType::F32))
                .map_err(|e| e.to_string()),
        )
    }
}

fn read(map: &[u8]) -> std::result::Result<BTreeMap<String, (View, Range<usize>)>, String> {
    let files = stored_files(map)?;
    let mut pickles = files.iter().filter_map(|(name, range)| Some((name.strip_suffix("data.pkl")?, range)));
    let (folder, pickle) = pickles.next().ok_or("it holds no data.pkl")?;
    if pickle.len() > MAX_PICKLE {
        return Err(format!("its pickle has {} bytes; at most {MAX_PICKLE} are supported", pickle.len()));
    }
    if files.get(&format!("{folder}byteorder")).and_then(|range| map.get(range.clone())).is_some_and(|b| b == b"big") {
        return Err("it was written on a big-endian machine".into());
    }
    let mut tensors = BTreeMap::new();
    let mut total = 0usize;
    for (name, view) in state_dict(map.get(pickle.clone()).unwrap_or_default()).map_err(|e| format!("it {e}"))? {
        let Some(storage) = files.get(&format!("{folder}data/{}", view.storage)) else {
            return Err(format!("tensor {name}: its storage {:?} is missing", view.storage));
        };
        if let Some(dtype) = view.dtype {
            let width = dtype.size_in_bytes();
            // An expanded tensor has more values than its storage; the total of all tensors is bounded below.
            let bytes = view.values().and_then(|n| n.checked_mul(width));
            let reach = view.reach().and_then(|n| n.checked_mul(width)).filter(|&n| n <= storage.len());
            let (Some(bytes), Some(_)) = (bytes, reach) else {
                return Err(format!(
                    "tensor {name} claims shape {:?}, more than its storage of {} bytes can hold; download it again",
                    view.shape,
                    storage.len()
                ));
            };
            total = total.saturating_add(bytes);
        }
        let previous = tensors.insert(name.clone(), (view, storage.clone()));
        if previous.is_some() {
            return Err(format!("two tensors are named {name}"));
        }
    }
    if total > MAX_SHARING * map.len() {
        return Err(format!(
            "its tensors claim {total} bytes, the file has {}. If some were expanded, save each as tensor.contiguous()",
            map.len()
        ));
    }
    Ok(tensors)
}

/// Byte ranges of the files of a zip archive; compressed files are an error.
fn stored_files(map: &[u8]) -> std::result::Result<HashMap<String, Range<usize>>, String> {
    let hint = "files that torch before 1.6 wrote must be saved anew with a later one";
    let failed = |e: zip::result::ZipError| format!("{e}; {hint}");
    let mut archive = ZipArchive::new(Cursor::new(map)).map_err(failed)?;
    let mut files = HashMap::new();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(failed)?;
        let name = file.name().map_err(failed)?.into_owned();
        let size = usize::try_from(file.size()).ok();
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size)).filter(|&end| end <= map.len());
        match start.zip(end) {
            Some((start, end)) if file.compression() == CompressionMethod::Stored => files.insert(name, start..end),
            _ => return Err(format!("its file {name:?} is compressed, or outside of it")),
        };
    }
    Ok(files)
}

impl View {
    /// The number of values of the view; None on overflow.
    fn values(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
    }

    /// The number of values that its storage must have at least; None on overflow.
    fn reach(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let steps = self.shape.iter().zip(&self.strides).map(|(&size, &stride)| (size - 1).checked_mul(stride));
        steps.into_iter().try_fold(self.offset, |sum, step| sum.checked_add(step?))?.checked_add(1)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
    }
}

/// Copies the values of a view whose `reach` was checked.
fn gather<const N: usize>(view: &View, bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (storage, _) = bytes.as_chunks::<N>();
    let count = view.values().unwrap_or(0);
    if view.is_contiguous() {
        let values = storage.get(view.offset..view.offset + count).unwrap_or_default();
        return values.iter().map(|&bytes| value(bytes)).collect();
    }
    let mut index = vec![0; view.shape.len()];
    let next = |_| {
        let at = view.offset + index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum::<usize>();
        for (i, size) in index.iter_mut().zip(&view.shape).rev() {
            *i += 1;
            if *i < *size {
                break;
            }
            *i = 0;
        }
        storage.get(at).map_or(0.0, |&bytes| value(bytes))
    };
    (0..count).map(next).collect()
}
