//! SentencePiece's compiled normalisation, validated before use.
//!
//! The map is a double-array trie of 32-bit units, followed by the replacements, each ended by a zero byte.
//! `spm_precompiled` follows every index unchecked, so this module checks that all of them stay inside.

use tokenizers::normalizers::Precompiled;

use crate::error::{Error, Result};

/// Normaliser from the bytes of a `precompiled_charsmap`.
pub(super) fn normalizer(bytes: &[u8]) -> Result<Precompiled> {
    let bad = |what: &str| Error::Data(format!("the compiled normalisation is damaged: {what}"));
    let (head, rest) = bytes.split_at_checked(4).ok_or_else(|| bad("it is too short"))?;
    let size = head.iter().rev().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
    let (array, text) = rest.split_at_checked(size).ok_or_else(|| bad("it is shorter than it says"))?;
    let text = std::str::from_utf8(text).map_err(|_| bad("its replacements are not UTF-8"))?;
    if size == 0 || !size.is_multiple_of(4) {
        return Err(bad("its array has no whole number of units"));
    }
    let units: Vec<u32> =
        array.chunks_exact(4).map(|unit| unit.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte))).collect();
    // The walk goes from a node to the unit `node ^ byte`, and from that unit to the node `unit ^ offset`.
    let is_inside = |node: usize| node | 0xff < units.len();
    for (i, &unit) in units.iter().enumerate() {
        // The walk never continues from values and unused units; it begins at unit 0.
        if i > 0 && (unit >> 31 == 1 || unit.trailing_zeros() >= 8) {
            continue;
        }
        let node = i ^ ((unit as usize >> 10) << ((unit & (1 << 9)) >> 6));
        if !is_inside(node) {
            return Err(bad("a step leads out of its array"));
        }
        let value = units.get(node).map_or(0, |value| value & 0x7fff_ffff) as usize;
        if unit >> 8 & 1 == 1 && !text.is_char_boundary(value) {
            return Err(bad("a replacement begins outside its text"));
        }
    }
    Precompiled::from(bytes).map_err(|e| bad(&e.to_string()))
}

/// Validates the maps in the normaliser of a `tokenizer.json`.
pub(super) fn check_json(json: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Normalizer {
        #[serde(default)]
        normalizer: serde_json::Value,
    }
    if !json.windows(KEY.len()).any(|window| window == KEY.as_bytes()) {
        return Ok(());
    }
    let bad = |e: &dyn std::fmt::Display| Error::Data(format!("tokenizer.json: cannot be read: {e}"));
    let parsed: Normalizer = serde_json::from_slice(json).map_err(|e| bad(&e))?;
    check(&parsed.normalizer)
}

const KEY: &str = "precompiled_charsmap";

fn check(value: &serde_json::Value) -> Result<()> {
    use serde_json::Value;
    match value {
        Value::Array(values) => values.iter().try_for_each(check),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match value {
            Value::String(text) if key == KEY => {
                let bytes = base64::decode(text).map_err(|e| Error::Data(format!("tokenizer.json: {KEY}: {e}")))?;
                normalizer(&bytes).map(drop)
            }
            value => check(value),
        }),
        _ => Ok(()),
    }
}
