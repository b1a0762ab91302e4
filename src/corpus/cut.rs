//! Cuts long texts into pieces that are tokenised separately but give the tokens of the whole text.

use crate::error::Result;
use crate::text::Tokenizer;

/// Longest piece in bytes: tokenising needs about a hundred times a piece's size in memory on each thread.
pub(super) const PIECE: usize = 64 << 10;

/// Decides where to cut texts for a given tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cutter {
    /// Whether the space at a cut stays with the second piece. If not, it is dropped, because the tokenizer prepends a
    /// space to every text.
    keeps_space: bool,
}

/// A cut: end of the first piece and start of the second, in bytes.
pub(super) type Cut = (usize, usize);

impl Cutter {
    /// Tries both ways on a short text and takes the one that gives the same tokens as the uncut text.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let ids = |text: &str| -> Result<Vec<u32>> {
            Ok(tokenizer.encode_words(text, None)?.into_iter().map(|(id, _)| id).collect())
        };
        let (whole, first) = (ids("a cat sat")?, ids("a cat")?);
        let joined = |second: &str| -> Result<bool> { Ok([first.clone(), ids(second)?].concat() == whole) };
        Ok(Self { keeps_space: joined(" sat")? || !joined("sat")? })
    }

    /// Where to cut a text longer than a piece: at the last single space between two words, otherwise at the last
    /// whitespace, otherwise within a word.
    pub fn cut(self, text: &str) -> Cut {
        let head = &text[..boundary_below(text, PIECE)];
        let after = |i: usize, c: char| text[i + c.len_utf8()..].chars().next();
        let before = |i: usize| text[..i].chars().next_back();
        let is_word = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let between = |&(i, c): &(usize, char)| c == ' ' && is_word(before(i)) && is_word(after(i, c));
        let last = |found: &dyn Fn(&(usize, char)) -> bool| head.char_indices().rev().find(found);
        if let Some((i, _)) = last(&between) {
            return (i, if self.keeps_space { i } else { i + 1 });
        }
        let at = last(&|&(i, c)| i > 0 && c.is_whitespace()).map_or(head.len(), |(i, _)| i);
        (at, at)
    }
}

/// The last character boundary at or before byte `i`.
pub(super) fn boundary_below(text: &str, i: usize) -> usize {
    (0..=i.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}
