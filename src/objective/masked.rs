//! Masked language modelling (BERT, Devlin et al. 2019): some tokens are chosen for prediction, and most of the chosen
//! ones are masked.
//!
//! Among the tokens that are not special, the unit of choice is a token, a whole word, or a span of words as in
//! SpanBERT (Joshi et al. 2020). Every token is chosen with probability `rate`, wherever it stands and however long its
//! word is:
//!
//! - Tokens and words are chosen independently of each other, so their number varies. (BERT's own data has a fixed
//!   number, so long words have to be left out where they do not fit. transformers 5 draws for each token and then
//!   takes its whole word, which chooses a word of two tokens at a rate of 0.15 with probability 0.28.)
//! - Spans have 1 to 10 words with probabilities in proportion to `0.8^length`, 3.8 on average, and are separated by
//!   gaps of at least one word, of geometric length, such that the expected share of words in spans is `rate`. The
//!   first span of a text may begin before it and the last may end after it, which keeps the rate at both ends. No span
//!   reaches beyond a special token.
//!
//! If nothing was chosen, one word (or token) is drawn uniformly, so short texts are above the rate.
//!
//! Of the chosen tokens, 80% are replaced by the mask token, 10% by a random token that is not special, and 10% stay as
//! they are. This is drawn for each token, or for each span as a whole.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rng::Key;

/// The probability that a gap between words ends a span.
const SPAN_ENDS: f64 = 0.2;
/// Maximum number of words in a span.
const LONGEST: i32 = 10;

/// The unit of masking: the tokens that are chosen together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Token,
    Word,
    Span,
}

/// Settings of masking.
#[derive(Debug, Clone)]
pub struct MaskedLM {
    rate: f64,
    unit: Unit,
    mask: u32,
    vocab_size: usize,
    /// Ids of special tokens and the mask, sorted.
    special: Vec<u32>,
}

/// A masked sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// Token ids after masking.
    pub ids: Vec<u32>,
    /// The original ids of the chosen tokens; none elsewhere.
    pub labels: Vec<Option<u32>>,
}

impl MaskedLM {
    /// Masking that chooses tokens with probability `rate` (BERT: 0.15). `special` are ids of the vocabulary that are
    /// never drawn as random tokens; the mask's may be among them or not.
    pub fn new(rate: f64, unit: Unit, mask: u32, vocab_size: usize, special: &[u32]) -> Result<Self> {
        let highest = if unit == Unit::Span { mean_length() / (1.0 + mean_length()) } else { 1.0 };
        if !(rate > 0.0 && rate <= highest) {
            return Err(Error::Value(format!("rate={rate}: expected more than 0 and at most {highest:.3}")));
        }
        let mut special: Vec<u32> = special.iter().copied().chain([mask]).collect();
        special.sort_unstable();
        special.dedup();
        if special.last().is_some_and(|&id| id as usize >= vocab_size) || special.len() >= vocab_size {
            let message = format!("special tokens {special:?} do not fit a vocabulary of {vocab_size} tokens");
            return Err(Error::Value(message));
        }
        Ok(Self { rate, unit, mask, vocab_size, special })
    }

    /// Mask a sequence.
    pub fn apply(&self, ids: &[u32], continues: &[bool], special: &[bool], key: Key) -> Result<Masked> {
        if ids.len() != continues.len() || ids.len() != special.len() {
            let (n, continues, special) = (ids.len(), continues.len(), special.len());
            return Err(Error::internal(format!("masking: got {n} ids, {continues} and {special} flags")));
        }
        let [choice, fate, random] = [0, 1, 2].map(|use_| key.child(use_));
        let mut masked = Masked { ids: ids.to_vec(), labels: vec![None; ids.len()] };
        for chosen in self.choose(&self.pieces(continues, special), choice) {
            for i in chosen.clone() {
                let drawn = if self.unit == Unit::Span { chosen.start } else { i };
                masked.labels[i] = Some(ids[i]);
                match fate.uniform(drawn as u64) {
                    u if u < 0.8 => masked.ids[i] = self.mask,
                    u if u < 0.9 => masked.ids[i] = self.random(random, i),
                    _ => {}
                }
            }
        }
        Ok(masked)
    }

    /// The words (or tokens) of each stretch between special tokens, as ranges of tokens.
    fn pieces(&self, continues: &[bool], special: &[bool]) -> Vec<Vec<Range<usize>>> {
        let mut pieces = vec![Vec::<Range<usize>>::new()];
        for (i, (&continues, &special)) in continues.iter().zip(special).enumerate() {
            match pieces.last_mut() {
                Some(piece) if !special => match piece.last_mut() {
                    Some(word) if continues && self.unit != Unit::Token => word.end = i + 1,
                    _ => piece.push(i..i + 1),
                },
                _ => pieces.push(Vec::new()),
            }
        }
        pieces
    }

    /// The chosen words, tokens or spans, as ranges of tokens.
    fn choose(&self, pieces: &[Vec<Range<usize>>], key: Key) -> Vec<Range<usize>> {
        let mut chosen = Vec::new();
        for words in pieces {
            match self.unit {
                Unit::Span => self.spans(words, key, &mut chosen),
                _ => chosen
                    .extend(words.iter().filter(|word| key.child(word.start as u64).uniform(0) < self.rate).cloned()),
            }
        }
        if chosen.is_empty() {
            let words: Vec<&Range<usize>> = pieces.iter().flatten().collect();
            let any = key.below(u64::MAX, words.len());
            chosen.extend(words.get(any).map(|&word| word.clone()));
        }
        chosen
    }

    /// Draw spans and gaps in turn, as if words had come before the first.
    fn spans(&self, words: &[Range<usize>], key: Key, chosen: &mut Vec<Range<usize>>) {
        let leave_gap = self.rate / (mean_length() * (1.0 - self.rate));
        let draw = |word: usize, what| words.get(word).map(|word| key.child(word.start as u64).uniform(what));
        // The remainder of a span that began earlier has `k` words with probability proportional to that of a span of
        // at least `k`.
        let mut length =
            draw(0, 0).filter(|u| *u < self.rate).and(draw(0, 1)).map(|u| pick((1..=LONGEST).map(longer), u));
        let mut word = 0;
        while word < words.len() {
            if let Some(length) = length.take() {
                let span = &words[word..words.len().min(word + length)];
                chosen.extend(span.first().zip(span.last()).map(|(first, last)| first.start..last.end));
                word += length;
            }
            // Extend the gap word by word until a span begins.
            while word < words.len() && length.is_none() {
                word += 1;
                length = draw(word, 2).filter(|u| *u < leave_gap).and(draw(word, 1)).map(|u| pick(lengths(), u));
            }
        }
    }

    /// A random token that is not special.
    fn random(&self, key: Key, i: usize) -> u32 {
        let nth = key.below(i as u64, self.vocab_size - self.special.len()) as u32;
        self.special.iter().fold(nth, |id, &special| if id >= special { id + 1 } else { id })
    }
}

/// Unnormalised probabilities of spans of 1, 2, .. words.
fn lengths() -> impl Iterator<Item = f64> + Clone {
    (1..=LONGEST).map(|length| (1.0 - SPAN_ENDS).powi(length))
}

/// Unnormalised probability of a span of at least `length` words.
fn longer(length: i32) -> f64 {
    lengths().skip(length as usize - 1).sum()
}

/// Mean number of words in a span.
fn mean_length() -> f64 {
    (1..=LONGEST).map(longer).sum::<f64>() / longer(1)
}

/// Draw 1, 2, .. in proportion to `weights`, with `u` in (0, 1) as the random value.
fn pick(weights: impl Iterator<Item = f64> + Clone, u: f64) -> usize {
    let mut rest = u * weights.clone().sum::<f64>();
    let passed = weights.take_while(|weight| {
        rest -= weight;
        rest >= 0.0
    });
    (passed.count() + 1).min(LONGEST as usize)
}
