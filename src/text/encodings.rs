//! Encoded texts in flat arrays: ids, segments and character offsets of all texts, concatenated.

/// Encodings of `N` texts.
#[derive(Debug, Clone, Default)]
pub struct Encodings {
    ids: Vec<u32>,
    segments: Vec<u8>,
    offsets: Vec<(u32, u32)>,
    /// Start of each text in the flat arrays, `[N + 1]`.
    starts: Vec<usize>,
    n_truncated: usize,
    n_unknown: usize,
    max_length: usize,
    max_length_source: &'static str,
    words: Option<WordStarts>,
}

/// Position of the first token of each word within its text, and the start of each text's words, `[N + 1]`.
#[derive(Debug, Clone)]
struct WordStarts {
    tokens: Vec<u32>,
    starts: Vec<usize>,
}

/// Encoding of a single text.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub ids: Vec<u32>,
    pub segments: Vec<u8>,
    pub offsets: Vec<(u32, u32)>,
    pub truncated: bool,
}

impl Encodings {
    pub(super) fn collect(texts: Vec<Encoded>, max_length: usize) -> Self {
        let total = texts.iter().map(|t| t.ids.len()).sum();
        let mut all = Self { max_length, starts: vec![0], ..Self::default() };
        all.ids.reserve_exact(total);
        all.segments.reserve_exact(total);
        all.offsets.reserve_exact(total);
        for text in texts {
            all.push(&text.ids, &text.segments, &text.offsets);
            all.n_truncated += usize::from(text.truncated);
        }
        all
    }

    fn push(&mut self, ids: &[u32], segments: &[u8], offsets: &[(u32, u32)]) {
        self.ids.extend_from_slice(ids);
        self.segments.extend_from_slice(segments);
        self.offsets.extend_from_slice(offsets);
        self.starts.push(self.ids.len());
    }

    /// Adds the positions of each word's first token, one list per text.
    ///
    /// # Panics
    /// If there are not as many lists of words as texts.
    #[must_use]
    pub fn with_words(mut self, words: &[Vec<u32>]) -> Self {
        assert!(words.len() == self.len(), "words of {} texts for {}", words.len(), self.len());
        let starts = std::iter::once(0).chain(words.iter().scan(0, |end, words| {
            *end += words.len();
            Some(*end)
        }));
        self.words = Some(WordStarts { starts: starts.collect(), tokens: words.concat() });
        self
    }

    /// True if word positions are known.
    pub fn has_words(&self) -> bool {
        self.words.is_some()
    }

    /// Position of the first token of each word of a text.
    pub fn words(&self, text: usize) -> &[u32] {
        self.words.as_ref().map_or(&[], |words| &words.tokens[words.starts[text]..words.starts[text + 1]])
    }

    /// Indices of the items to classify that belong to a text: its words if they are known, else the text itself.
    pub fn items(&self, text: usize) -> std::ops::Range<usize> {
        self.words.as_ref().map_or(text..text + 1, |words| words.starts[text]..words.starts[text + 1])
    }

    /// Number of items to classify: words if they are known, else texts.
    pub fn n_items(&self) -> usize {
        self.words.as_ref().map_or(self.len(), |words| words.tokens.len())
    }

    /// Encodings of given ids and segments, without offsets.
    pub fn from_ids(texts: &[(Vec<u32>, Vec<u8>)]) -> Self {
        let encoded = texts.iter().map(|(ids, segments)| Encoded {
            ids: ids.clone(),
            segments: segments.clone(),
            offsets: vec![(0, 0); ids.len()],
            truncated: false,
        });
        Self::collect(encoded.collect(), usize::MAX)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// True if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Total number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of texts without a token of their own or, if words are known, without a word.
    pub fn n_empty(&self) -> usize {
        let blank = |text: &usize| match self.words {
            Some(_) => self.words(*text).is_empty(),
            None => self.offsets(*text).iter().all(|(start, end)| start == end),
        };
        (0..self.len()).filter(blank).count()
    }

    /// Number of texts that were truncated.
    pub fn n_truncated(&self) -> usize {
        self.n_truncated
    }

    /// Number of texts that consist mostly of unknown tokens.
    pub fn n_unknown(&self) -> usize {
        self.n_unknown
    }

    /// Also counts the texts in which more than half of the tokens are `unknown`, leaving out `n_special` special
    /// tokens each.
    #[must_use]
    pub fn counting_unknown(mut self, unknown: Option<u32>, n_special: usize) -> Self {
        let is_unknown = |text: &usize| {
            let ids = self.ids(*text);
            let n = ids.iter().filter(|&&id| Some(id) == unknown).count();
            2 * n > ids.len().saturating_sub(n_special)
        };
        self.n_unknown = (0..self.len()).filter(is_unknown).count();
        self
    }

    /// Encodings of a selection of texts, with their words.
    #[must_use]
    pub fn select(&self, texts: &[usize]) -> Self {
        let mut some = Self { max_length: self.max_length, starts: vec![0], ..Self::default() };
        for &text in texts {
            some.push(self.ids(text), self.segments(text), self.offsets(text));
        }
        match &self.words {
            None => some,
            Some(_) => some.with_words(&texts.iter().map(|&text| self.words(text).to_vec()).collect::<Vec<_>>()),
        }
    }

    /// Maximum length in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Source of the maximum length, such as a file's field; empty if the caller gave it.
    pub fn max_length_source(&self) -> &'static str {
        self.max_length_source
    }

    /// Records the source of the maximum length.
    #[must_use]
    pub fn limited_by(self, max_length_source: &'static str) -> Self {
        Self { max_length_source, ..self }
    }

    /// Number of tokens of each text.
    pub fn lengths(&self) -> Vec<usize> {
        self.starts.windows(2).map(|w| w[1] - w[0]).collect()
    }

    fn range(&self, text: usize) -> std::ops::Range<usize> {
        self.starts[text]..self.starts[text + 1]
    }

    /// Token ids of a text.
    pub fn ids(&self, text: usize) -> &[u32] {
        &self.ids[self.range(text)]
    }

    /// Segment id of each token of a text: 0 in the first text of a pair, 1 in the second.
    pub fn segments(&self, text: usize) -> &[u8] {
        &self.segments[self.range(text)]
    }

    /// Character offsets of each token in the text it came from; `(0, 0)` for special tokens.
    pub fn offsets(&self, text: usize) -> &[(u32, u32)] {
        &self.offsets[self.range(text)]
    }
}
