//! Writes weights: one safetensors file, or above a size limit several with an index, named and split as
//! huggingface_hub does.

use std::path::Path;

use safetensors::View;
use serde_json::{Map, json};

use super::weights::{OF_WEIGHTS, WEIGHT_FILES, write_safetensors};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::files::Staged;

const SINGLE: &str = WEIGHT_FILES[0];
const INDEX: &str = WEIGHT_FILES[1];

/// Stage `tensors` as `model.safetensors` or, if they exceed `max_bytes`, as shards of at most that size in the given
/// order; a larger tensor gets its own shard.
pub(crate) fn stage_weights(staged: &mut Staged, tensors: Vec<(String, Array)>, max_bytes: u64) -> Result<()> {
    let bytes = |(_, array): &(String, Array)| array.data_len() as u64;
    let total: u64 = tensors.iter().map(bytes).sum();
    let mut shards = split(tensors, bytes, max_bytes);
    if shards.len() <= 1 {
        return write_safetensors(shards.pop().unwrap_or_default(), OF_WEIGHTS, &staged.reserve(SINGLE)?);
    }
    let n = shards.len();
    let mut weight_map = Map::new();
    for (i, shard) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{n:05}.safetensors", i + 1);
        weight_map.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        write_safetensors(shard, OF_WEIGHTS, &staged.reserve(&name)?)?;
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    let text = serde_json::to_vec_pretty(&index).map_err(|e| Error::Value(format!("{INDEX}: {e}")))?;
    staged.write(INDEX, &text)
}

/// Split `items`, in order, into groups whose sizes sum to at most `max`.
fn split<T>(items: Vec<T>, size: impl Fn(&T) -> u64, max: u64) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut filled = 0;
    for item in items {
        let size = size(&item);
        match parts.last_mut() {
            Some(part) if filled + size <= max => {
                part.push(item);
                filled += size;
            }
            _ => {
                parts.push(vec![item]);
                filled = size;
            }
        }
    }
    parts
}

/// The shards in `dir`, from any save.
pub(crate) fn shards_in(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let names = entries.map_err(|e| Error::io(dir, e))?.into_iter().filter_map(|e| e.file_name().into_string().ok());
    Ok(names.filter(|name| is_shard(name)).collect())
}

/// True of names like `model-00001-of-00002.safetensors`, and the same with `pytorch_model` and `.bin`.
fn is_shard(name: &str) -> bool {
    let numbers = name
        .strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .or_else(|| name.strip_prefix("pytorch_model-")?.strip_suffix(".bin"));
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(i, n)| is_number(i) && is_number(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_when_sizes_are_uneven_fills_parts_in_order() {
        let parts = |sizes: &[u64], max| split(sizes.to_vec(), |&size| size, max);
        assert_eq!(parts(&[3, 3, 4, 1, 9, 2], 7), [vec![3, 3], vec![4, 1], vec![9], vec![2]]);
        assert_eq!(parts(&[3, 4], 7), [vec![3, 4]]);
        assert_eq!(parts(&[9], 1), [vec![9]]);
        assert_eq!(parts(&[1, 1], 0), [vec![1], vec![1]]);
        assert!(parts(&[], 7).is_empty());
    }

    #[test]
    fn is_shard_when_names_are_alike_knows_the_shards() {
        for name in ["model-00001-of-00002.safetensors", "pytorch_model-00010-of-00010.bin"] {
            assert!(is_shard(name), "{name}");
        }
        for name in [
            "model.safetensors",
            "model-00001-of-00002.bin",
            "model-1-of-2.safetensors",
            "model-00001-of-0000x.safetensors",
            "my-model-00001-of-00002.safetensors",
            "model-00001.safetensors",
        ] {
            assert!(!is_shard(name), "{name}");
        }
    }
}
