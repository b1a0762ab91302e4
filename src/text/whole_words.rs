//! Tokens of a text without special tokens, and the words they belong to.
//!
//! A word is a run of characters without whitespace; each punctuation character and each ideograph is a word of its
//! own, as in BERT (<https://github.com/google-research/bert>, `BasicTokenizer`). Whitespace belongs to the word after
//! it. Words are determined on the text as it is written, so they are the same for WordPiece, byte-level BPE and
//! SentencePiece.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{Encoding, Model, OffsetType};
use unicode_categories::UnicodeCategories;

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// Tokens and words of a text.
pub(super) struct Words {
    pub ids: Vec<u32>,
    /// Index of the first token of each word.
    pub starts: Vec<usize>,
    /// Start and end of each word in characters; a word includes the combining marks after it that are in no token.
    pub spans: Vec<(u32, u32)>,
}

impl Tokenizer {
    /// Words of a text; words without a token of their own are left out.
    pub(super) fn words_of(&self, text: &str) -> Result<Words> {
        let encoding = self.plain_checked(text)?;
        let offsets = encoding.get_offsets();
        let continues = continuing(text, None, offsets);
        let mut chars = vec![0u32; text.len() + 1];
        for (i, (at, c)) in text.char_indices().enumerate() {
            chars[at] = i as u32;
            chars[at + c.len_utf8()] = i as u32 + 1;
        }
        let firsts: Vec<usize> = (0..continues.len()).filter(|&i| !continues[i]).collect();
        let mut words = Words { ids: encoding.get_ids().to_vec(), starts: Vec::new(), spans: Vec::new() };
        for (i, &first) in firsts.iter().enumerate() {
            let behind = firsts.get(i + 1).copied().unwrap_or(continues.len());
            let end = offsets[first..behind].iter().map(|offsets| offsets.1).max().unwrap_or(0);
            let Some(word) = text.get(offsets[first].0..end) else { continue };
            let start = end - word.trim_start().len();
            if start < end {
                let end = start + word.trim().len();
                // Combining marks that a normaliser strips are in no token, but are part of the word as written.
                let next = firsts.get(i + 1).map_or(text.len(), |&next| offsets[next].0);
                let rest = text.get(end..next).unwrap_or_default();
                let end = end + rest.find(|c| !continues_character(c)).unwrap_or(rest.len());
                words.starts.push(first);
                words.spans.push((chars[start], chars[end]));
            }
        }
        Ok(words)
    }

    /// Token ids of a text, each with a flag that is true if the token continues the word of the token before it. If a
    /// word begins within a token, the token belongs to that word as well as to the word in which the token begins.
    ///
    /// `before` is the character before the text, if the text continues another piece.
    pub fn encode_words(&self, text: &str, before: Option<char>) -> Result<Vec<(u32, bool)>> {
        let encoding = self.plain_checked(text)?;
        let continues = continuing(text, before, encoding.get_offsets());
        Ok(encoding.get_ids().iter().copied().zip(continues).collect())
    }

    fn plain_checked(&self, text: &str) -> Result<Encoding> {
        // The library panics if a tokenizer.json names a token that it does not have.
        catch_unwind(AssertUnwindSafe(|| self.plain(text)))
            .map_err(|_| Error::Data("the parts of the tokenizer contradict each other".into()))?
            .map_err(|e| Error::Data(format!("a text cannot be tokenised: {e}")))
    }

    fn plain(&self, text: &str) -> tokenizers::Result<Encoding> {
        let mut words = self.words(text)?;
        self.inner.get_model().tokenize_in_pretokenized(&mut words, None)?;
        words.into_encoding(None, 0, OffsetType::Byte)
    }
}

/// Whether a character is a word of its own: punctuation and ideographs.
fn stands_alone(c: char) -> bool {
    let is_ideograph = matches!(
        c as u32,
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    );
    c.is_ascii_punctuation() || is_ideograph || (!c.is_ascii() && c.is_punctuation())
}

/// Whether a character belongs to the one before it: combining marks (variation selectors among them), joiners and
/// tags.
fn continues_character(c: char) -> bool {
    c.is_mark() || matches!(c, '\u{200C}' | '\u{200D}' | '\u{E0020}'..='\u{E007F}')
}

fn begins_word(before: Option<char>, c: char) -> bool {
    !c.is_whitespace() && (before.is_none_or(|b| b.is_whitespace() || stands_alone(b)) || stands_alone(c))
}

/// Flags of the tokens that continue a word; `offsets` are the tokens' byte ranges in `text`.
fn continuing(text: &str, mut before: Option<char>, offsets: &[(usize, usize)]) -> Vec<bool> {
    let mut starts = Vec::new();
    for (i, c) in text.char_indices() {
        if begins_word(before, c) {
            starts.push(i);
        }
        before = Some(c);
    }
    // Words are counted from 1; word 0 is the one that began before the text.
    let mut reached = 0;
    let continues = |&(start, end): &(usize, usize)| {
        let rest = text.get(start..).unwrap_or_default();
        let first = match rest.find(|c: char| !c.is_whitespace()) {
            Some(skipped) => starts.partition_point(|&s| s <= start + skipped),
            None => starts.len() + 1,
        };
        let continues = first <= reached;
        reached = reached.max(first).max(starts.partition_point(|&s| s < end));
        continues
    };
    offsets.iter().map(continues).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str, before: Option<char>, tokens: &[&str]) -> String {
        let mut end = 0;
        let offsets: Vec<_> = tokens
            .iter()
            .map(|token| {
                let start = end + text[end..].find(token).unwrap_or(0);
                end = start + token.len();
                (start, end)
            })
            .collect();
        continuing(text, before, &offsets).into_iter().map(|c| if c { '+' } else { '-' }).collect()
    }

    #[test]
    fn continuing_when_tokens_are_of_any_kind_follows_the_words_of_the_text() {
        let text = "  unaffable, don't 日本go";
        let word_piece = ["un", "aff", "able", ",", "don", "'", "t", "日", "本", "go"];
        assert_eq!(flags(text, None, &word_piece), "-++-------");
        let byte_level = ["  un", "aff", "able", ",", " don", "'t", " 日", "本g", "o"];
        assert_eq!(flags(text, None, &byte_level), "-++-----+");
        let spaces_alone = [" ", " ", "unaffable", ",", " ", "don", "'t", " ", "日本", "go"];
        assert_eq!(flags(text, None, &spaces_alone), "-++--+--+-");
    }

    #[test]
    fn continuing_when_characters_fall_apart_or_texts_do_keeps_words_whole() {
        // Tokens that are bytes of one character have the offsets of that character.
        assert_eq!(
            continuing("a 🙂!", None, &[(0, 1), (1, 6), (1, 6), (2, 6), (6, 7)]),
            [false, false, true, true, false]
        );
        assert_eq!(flags("able to", Some('f'), &["able", " to"]), "+-");
        assert_eq!(flags("able to", Some(' '), &["able", " to"]), "--");
        assert_eq!(flags("able to", Some(','), &["able", " to"]), "--");
        assert_eq!(flags(" \n ", Some('a'), &[" ", "\n", " "]), "-++");
        // Offsets that do not fit the text do no harm.
        assert_eq!(continuing("é", None, &[(1, 2), (9, 7)]).len(), 2);
    }
}
