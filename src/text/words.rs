//! Counts the words of a corpus as the model sees them: normalised and pre-tokenized.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use tokenizers::OffsetReferential::Original;
use tokenizers::OffsetType::Byte;

use super::tokenizer::Tokenizer;
use crate::compute::in_pool;
use crate::error::{Error, Result};

/// Counts by word, sorted by word.
#[derive(Default)]
pub(super) struct WordCounts(pub BTreeMap<String, u64>);

impl WordCounts {
    /// Adds the words of texts, counted in parallel; the result does not depend on the order of texts or the number of
    /// threads. Special tokens written in a text are not counted.
    pub fn add(&mut self, tokenizer: &Tokenizer, texts: &[String]) -> Result<()> {
        self.count(texts, |text, count| {
            let words = tokenizer.words(text)?;
            for (word, _, tokens) in words.get_splits(Original, Byte) {
                if tokens.is_none() {
                    count(word);
                }
            }
            Ok(())
        })
    }

    /// Adds only whole words: letters and digits, at least one of them a letter. The marker of the space before a word
    /// counts as part of it.
    pub fn add_whole(&mut self, tokenizer: &Tokenizer, texts: &[String]) -> Result<()> {
        self.count(texts, |text, count| {
            each_piece(tokenizer, text, &mut |piece, surface| {
                if is_word(surface) {
                    count(piece);
                }
            })
        })
    }

    fn count(
        &mut self,
        texts: &[String],
        each: impl Fn(&str, &mut dyn FnMut(&str)) -> tokenizers::Result<()> + Sync,
    ) -> Result<()> {
        let in_chunk = |texts: &[String]| -> Result<HashMap<String, u64>> {
            let mut counts = HashMap::new();
            let mut count = |word: &str| match counts.get_mut(word) {
                Some(n) => *n += 1,
                None => drop(counts.insert(word.to_string(), 1)),
            };
            for text in texts {
                each(text, &mut count).map_err(|e| Error::Data(format!("a text cannot be cut into words: {e}")))?;
            }
            Ok(counts)
        };
        let counted: Result<Vec<_>> = in_pool(|| texts.par_chunks(256).map(in_chunk).collect());
        for (word, n) in counted?.into_iter().flatten() {
            *self.0.entry(word).or_default() += n;
        }
        Ok(())
    }
}

fn is_word(surface: &str) -> bool {
    surface.chars().any(char::is_alphabetic) && surface.chars().all(char::is_alphanumeric)
}

/// Calls `f(word as the model sees it, word as it is written)` for every word. Tokenizers that do not split a text into
/// words are handled by splitting before each space.
pub(super) fn each_piece(tokenizer: &Tokenizer, text: &str, f: &mut dyn FnMut(&str, &str)) -> tokenizers::Result<()> {
    let words = tokenizer.words(text)?;
    for (word, (start, end), tokens) in words.get_splits(Original, Byte) {
        if tokens.is_some() {
            continue;
        }
        if !word.contains('▁') {
            f(word, text.get(start..end).unwrap_or_default().trim_start());
            continue;
        }
        let mut rest = word;
        while !rest.is_empty() {
            let next = rest.char_indices().skip(1).find(|(_, c)| *c == '▁').map_or(rest.len(), |(i, _)| i);
            let (piece, after) = rest.split_at(next);
            f(piece, piece.trim_start_matches('▁'));
            rest = after;
        }
    }
    Ok(())
}
