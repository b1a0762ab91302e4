//! Splits texts between words into windows no longer than a model's maximum length, and keeps the position of each
//! word.

use std::ops::Range;

use rayon::prelude::*;

use super::encodings::{Encoded, Encodings};
use super::special::Frame;
use super::tokenizer::Tokenizer;
use super::whole_words::Words;
use crate::compute::in_pool;
use crate::error::{Error, Result};

/// Windows overlap by about 1/SHARED of their room, so that a word near the end of one is seen with the text after it.
const SHARED: usize = 4;

/// Windows of `N` texts. Each word is classified in exactly one of the windows that contain it, so that the items of
/// all windows, concatenated, are the words of all texts.
pub struct Windows {
    pub encodings: Encodings,
    /// Index of the text that each word belongs to.
    pub texts: Vec<u32>,
    /// Start and end of each word in its text, in characters.
    pub spans: Vec<(u32, u32)>,
}

/// Token range of a window, and the range of words to classify in it.
#[derive(Debug, PartialEq)]
struct Window {
    tokens: Range<usize>,
    words: Range<usize>,
}

impl Tokenizer {
    /// Splits texts into windows of at most `max_length` tokens, special tokens included. A text without words has no
    /// window.
    ///
    /// # Errors
    /// `Error::Value` if special tokens leave no room, `Error::Data` if a text cannot be tokenised.
    pub fn encode_windows(&self, texts: &[String], max_length: usize) -> Result<Windows> {
        let frame = self.frame()?;
        if max_length <= frame.len() {
            return Err(Error::Value(format!(
                "max_length={max_length}: {} special tokens leave no room for text; give at least {}",
                frame.len(),
                frame.len() + 1
            )));
        }
        let room = max_length - frame.len();
        let cut = |text: &String| -> Result<_> {
            let words = self.words_of(text)?;
            let windows = windows(&words.starts, words.ids.len(), room);
            let cut: Vec<_> = windows.iter().map(|window| frame.around(&words, window)).collect();
            Ok((cut, words.spans))
        };
        let cut: Result<Vec<_>> = in_pool(|| texts.par_iter().map(cut).collect());
        let (mut encoded, mut places, mut owners, mut spans) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (text, (windows, of_words)) in cut?.into_iter().enumerate() {
            owners.resize(owners.len() + of_words.len(), text as u32);
            spans.extend(of_words);
            for (window, words) in windows {
                encoded.push(window);
                places.push(words);
            }
        }
        let encodings = Encodings::collect(encoded, max_length).with_words(&places);
        let encodings = encodings.counting_unknown(self.unknown_id(), frame.len());
        Ok(Windows { encodings, texts: owners, spans })
    }
}

impl Frame {
    /// Adds the special tokens to a window; also returns the positions of the first tokens of the words to classify.
    fn around(&self, words: &Words, window: &Window) -> (Encoded, Vec<u32>) {
        let own = words.ids[window.tokens.clone()].iter().map(|&id| (id, self.segment));
        let all = self.before.iter().copied().chain(own).chain(self.after.iter().copied());
        let (ids, segments): (Vec<u32>, Vec<u8>) = all.unzip();
        let offsets = vec![(0, 0); ids.len()];
        let place = |&start: &usize| (self.before.len() + start - window.tokens.start) as u32;
        let places = words.starts[window.words.clone()].iter().map(place).collect();
        (Encoded { ids, segments, offsets, truncated: false }, places)
    }
}

/// Splits `n` tokens into windows of at most `room` tokens. `starts` are the indices of the words' first tokens, in
/// order.
fn windows(starts: &[usize], n: usize, room: usize) -> Vec<Window> {
    let half = room / SHARED / 2;
    let mut windows = Vec::new();
    let (mut begin, mut own) = (0, 0);
    while own < starts.len() {
        let mut end = (begin + room).min(n);
        if end < n {
            // End before a word that does not fit. A word longer than the room is split.
            let whole = starts.partition_point(|&start| start <= end);
            end = starts[..whole].last().copied().filter(|&start| start > begin).unwrap_or(end);
            if end <= starts[own] {
                begin = starts[own];
                continue;
            }
        }
        let next = match end {
            end if end == n => starts.len(),
            end => starts.partition_point(|&start| start + half < end).max(own + 1),
        };
        windows.push(Window { tokens: begin..end, words: own..next });
        own = next;
        let before = starts.get(own).map_or(n, |start| start.saturating_sub(half));
        begin = starts.get(starts.partition_point(|&start| start < before)).copied().unwrap_or(n);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_when_words_are_of_any_length_ask_for_each_once(
            lengths in prop::collection::vec(1usize..12, 0..80), before in 0usize..3, room in 1usize..40,
        ) {
            let mut n = before;
            let starts: Vec<usize> = lengths.iter().map(|len| { n += len; n - len }).collect();
            let windows = windows(&starts, n, room);
            let mut asked = Vec::new();
            for window in &windows {
                prop_assert!(window.tokens.len() <= room && window.tokens.end <= n && !window.words.is_empty());
                for word in window.words.clone() {
                    prop_assert!(window.tokens.contains(&starts[word]));
                    // The word is whole wherever that is possible.
                    prop_assert!(starts[word] + lengths[word] <= window.tokens.end || lengths[word] > room - room / SHARED);
                    asked.push(word);
                }
            }
            prop_assert_eq!(asked, (0..starts.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn windows_when_a_text_is_long_share_tokens() {
        let starts: Vec<usize> = (0..20).collect();
        let found: Vec<_> = windows(&starts, 20, 8).into_iter().map(|w| (w.tokens, w.words)).collect();
        assert_eq!(found, [(0..8, 0..7), (6..14, 7..13), (12..20, 13..20)]);
        assert_eq!(windows(&starts[..5], 5, 8), [Window { tokens: 0..5, words: 0..5 }]);
        assert_eq!(windows(&[], 3, 8), []);
    }
}
