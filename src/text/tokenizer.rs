//! A tokenizer read from a model directory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::{self, Lowercase, NormalizerWrapper};
use tokenizers::tokenizer::pre_tokenizer::PreTokenizedString;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};
use tokenizers::{Encoding, Model, OffsetType, PostProcessor, PreTokenizer};

use super::classes::Class;
use super::encodings::{Encoded, Encodings};
use super::settings::Settings;
use super::side_files::{SENTENCE_CONFIG, SENTENCE_PIECE_FILES, SideFiles};
use super::{beside, byte_bpe, charsmap, sentence_piece, word_piece};
use crate::compute::in_pool;
use crate::error::{Error, Result};

/// Values of `model_max_length` from this one on mean "no limit".
const NO_LIMIT: u64 = 1_000_000;

/// Settings of the transformer in sentence-transformers; null if the directory is not from sentence-transformers.
fn sentence_config(files: &SideFiles) -> Result<serde_json::Value> {
    let config = if files.modules()?.is_some() { files.json(SENTENCE_CONFIG)? } else { None };
    Ok(config.unwrap_or_default())
}

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Turns texts into tokens and back.
pub struct Tokenizer {
    /// Without padding and truncation, whatever its `tokenizer.json` says.
    pub(super) inner: tokenizers::Tokenizer,
    max_length: Option<Limit>,
    /// Side from which texts are truncated.
    cut_at: TruncationDirection,
    /// False if the files say that models get no segment ids.
    gives_segments: bool,
    /// Tokenizer class; None if no file names one.
    pub(super) class: Option<&'static Class>,
    /// True if it differs from what its `tokenizer.json` alone would give.
    pub(super) is_changed: bool,
    notes: Vec<String>,
}

/// Maximum input length in tokens, and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub tokens: usize,
    pub source: &'static str,
}

impl Tokenizer {
    /// Reads the first of these that exists: `tokenizer.json`, `vocab.txt`, `vocab.json` with `merges.txt`, a
    /// SentencePiece model; with the settings of `tokenizer_config.json` and similar files beside it. `model_type` is
    /// that of the model's `config.json`; it decides the family if there is no `tokenizer_class`.
    pub fn from_files(files: &SideFiles, model_type: Option<&str>) -> Result<Self> {
        let settings = Settings::read(files, model_type)?;
        let cut_at = settings.cut_at()?;
        let gives_segments = settings.gives_segments().unwrap_or(true);
        let of_sentences = sentence_config(files)?;
        // As in sentence-transformers 6.2, its own limit takes precedence over the tokenizer's.
        let limits = [
            (of_sentences["max_seq_length"].as_u64(), "max_seq_length of sentence_bert_config.json"),
            (settings.max_length(), "model_max_length of tokenizer_config.json"),
        ];
        let said = limits.into_iter().find_map(|(tokens, source)| Some((tokens?, source)));
        let said = said.filter(|&(tokens, _)| tokens < NO_LIMIT);
        let max_length = said.map(|(tokens, source)| Limit { tokens: tokens as usize, source });
        let file = |name: &str| files.0.get(name).map(Vec::as_slice);
        let sentence_piece = SENTENCE_PIECE_FILES.iter().find_map(|name| Some((name, file(name)?)));
        // Other formats than tokenizer.json report more precisely which classes they support.
        let class = match Class::of(&settings) {
            Err(unknown) if files.0.contains_key("tokenizer.json") => return Err(unknown),
            class => class.unwrap_or_default(),
        };
        let (mut is_changed, mut notes) = (false, Vec::new());
        let inner = if let Some(json) = file("tokenizer.json") {
            let mut inner = parse_json(json)?;
            notes.extend(beside::not_done(&inner, &settings, class, sentence_piece.is_some()));
            is_changed = beside::apply(&mut inner, settings, class, sentence_piece.is_some())?;
            inner
        } else if let Some(vocab) = file("vocab.txt") {
            word_piece::build(vocab, settings)?
        } else if let (Some(vocab), Some(merges)) = (file("vocab.json"), file("merges.txt")) {
            byte_bpe::build(vocab, merges, settings)?
        } else if let Some((name, model)) = sentence_piece {
            sentence_piece::build(name, model, settings)?
        } else {
            return Err(Error::Data(format!(
                "no tokenizer: expected tokenizer.json or vocab.txt beside the model, or vocab.json with merges.txt, \
                 or one of {}",
                SENTENCE_PIECE_FILES.join(", ")
            )));
        };
        let mut tokenizer = Self::new(inner, class)?;
        tokenizer.is_changed |= is_changed;
        tokenizer.notes.extend(notes);
        if of_sentences["do_lower_case"] == true {
            tokenizer.lower_case()?;
        }
        Ok(Self { max_length, gives_segments, cut_at: cut_at.unwrap_or(tokenizer.cut_at), ..tokenizer })
    }

    /// The tokenizer's own files among those of a model; a length limit of sentence-transformers becomes the
    /// tokenizer's own.
    pub fn files_among(&self, files: &SideFiles) -> Result<SideFiles> {
        let mut own = self.saved_files(files, None)?.without_model();
        if let Some(tokens) = sentence_config(files)?["max_seq_length"].as_u64() {
            let mut config = own.json(TOKENIZER_CONFIG)?.unwrap_or_else(|| serde_json::json!({}));
            config["model_max_length"] = tokens.into();
            own.0.insert(TOKENIZER_CONFIG.into(), config.to_string().into_bytes());
        }
        Ok(own)
    }

    /// Lower-cases texts before any other normalisation, as sentence-transformers 6.2 does.
    fn lower_case(&mut self) -> Result<()> {
        let old = self.inner.get_normalizer().cloned();
        let first = match &old {
            Some(NormalizerWrapper::Sequence(all)) => all.as_ref().first(),
            alone => alone.as_ref(),
        };
        if matches!(first, Some(NormalizerWrapper::Lowercase(_))) {
            return Ok(());
        }
        let all = [Some(Lowercase.into()), old].into_iter().flatten().collect();
        let failed = |e| Error::Data(format!("tokenizer: {e}"));
        self.is_changed = true;
        self.inner.with_normalizer(Some(normalizers::Sequence::new(all))).map_err(failed).map(drop)
    }

    /// Removes padding, truncation and BPE dropout, so that the same text always gives the same, complete tokens.
    pub(super) fn new(mut inner: tokenizers::Tokenizer, class: Option<&'static Class>) -> Result<Self> {
        let mut notes = Vec::new();
        let cut_at = inner.get_truncation().map_or(TruncationDirection::Right, |truncation| truncation.direction);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::Data(format!("tokenizer: {e}")))?;
        let mut is_changed = false;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && let Some(dropout) = model.dropout
        {
            let mut model = model.clone();
            model.dropout = None;
            inner.with_model(model);
            is_changed = true;
            if dropout > 0.0 {
                notes.push(format!(
                    "tokenizer.json: dropout={dropout} would cut the same text into other tokens at every call; it is \
                     switched off, here and in what is saved"
                ));
            }
        }
        Ok(Self { inner, max_length: None, cut_at, gives_segments: true, class, is_changed, notes })
    }

    /// True if version 1, which took a `tokenizer.json` as it stands, would read the same tokenizer from the same
    /// files.
    pub(super) fn reads_as_version_1(&self) -> bool {
        !self.is_changed
            && self.gives_segments
            && self.cut_at == TruncationDirection::Right
            && !self.inner.get_encode_special_tokens()
    }

    /// Notes for the user on how the files were read.
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Maximum input length that the tokenizer's files name.
    pub fn max_length(&self) -> Option<Limit> {
        self.max_length
    }

    /// Largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// True if both tokenizers have the same tokens with the same ids.
    pub fn has_tokens_of(&self, other: &Self) -> bool {
        self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// The tokenizer as the text of a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| Error::Data(format!("tokenizer: {e}")))
    }

    /// Encodes texts, or pairs of texts, in parallel, each truncated to `max_length` tokens. A pair loses tokens of its
    /// longer text first.
    pub fn encode(&self, texts: &[String], pairs: Option<&[String]>, max_length: usize) -> Result<Encodings> {
        let specials = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(pairs.is_some()));
        if max_length <= specials {
            return Err(Error::Value(format!(
                "max_length={max_length}: {specials} special tokens leave no room for text; give at least {}",
                specials + 1
            )));
        }
        if pairs.is_some_and(|p| p.len() != texts.len()) {
            return Err(Error::Value(format!(
                "got {} texts and {:?} second texts",
                texts.len(),
                pairs.map(<[_]>::len)
            )));
        }
        let room = max_length - specials;
        let encode = |i: usize| -> Result<Encoded> {
            let pair = pairs.map(|pairs| pairs[i].as_str());
            let failed = |e: &dyn std::fmt::Display| Error::Data(format!("text {i}: cannot be tokenised: {e}"));
            // The library panics if a tokenizer.json names a token that it does not have.
            let encoded = catch_unwind(AssertUnwindSafe(|| self.encode_one(&texts[i], pair, room)));
            let encoded = encoded.map_err(|_| failed(&"the parts of the tokenizer contradict each other"))?;
            let (encoding, truncated) = encoded.map_err(|e| failed(&e))?;
            self.compact(&encoding, truncated)
                .ok_or_else(|| Error::Data(format!("text {i}: the tokenizer gives segments above 255")))
        };
        let encoded: Result<Vec<Encoded>> = in_pool(|| (0..texts.len()).into_par_iter().map(encode).collect());
        Ok(Encodings::collect(encoded?, max_length).counting_unknown(self.unknown_id(), specials))
    }

    /// Does the same as the library's `encode_char_offsets`, but truncates without a copy of the tokenizer.
    fn encode_one(&self, text: &str, pair: Option<&str>, room: usize) -> tokenizers::Result<(Encoding, bool)> {
        // One token more than there is room for, to know whether anything was truncated.
        let limit = room.saturating_add(1);
        let first = self.tokens(text, 0, limit)?;
        let second = pair.map(|pair| self.tokens(pair, 1, limit)).transpose()?;
        let truncated = first.len() + second.as_ref().map_or(0, Encoding::len) > room;
        let params = TruncationParams { max_length: room, direction: self.cut_at, ..TruncationParams::default() };
        let (mut first, mut second) = truncate_encodings(first, second, &params)?;
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        let encoding = match (self.inner.get_post_processor(), second) {
            (Some(processor), second) => processor.process(first, second, true)?,
            (None, None) => first,
            (None, Some(second)) => Encoding::merge([first, second], false),
        };
        Ok((encoding, truncated))
    }

    fn tokens(&self, text: &str, segment: u32, limit: usize) -> tokenizers::Result<Encoding> {
        let mut words = self.words(text)?;
        let limit = Some((limit, self.cut_at));
        self.inner.get_model().tokenize_in_pretokenized(&mut words, limit)?;
        words.into_encoding(None, segment, OffsetType::Char)
    }

    /// Normalises and pre-tokenizes a text: the words that the model splits into pieces, and the added tokens between
    /// them.
    pub(super) fn words(&self, text: &str) -> tokenizers::Result<PreTokenizedString> {
        let added = self.inner.get_added_vocabulary();
        let mut words = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words)?;
        }
        Ok(words)
    }

    /// Converts an encoding; None if a segment id exceeds 255.
    fn compact(&self, encoding: &Encoding, truncated: bool) -> Option<Encoded> {
        let offsets = encoding.get_offsets().iter().map(|&(a, b)| (a as u32, b as u32)).collect();
        Some(Encoded { ids: encoding.get_ids().to_vec(), segments: self.segments(encoding)?, offsets, truncated })
    }

    /// Segment ids, all 0 if models get none; None if one exceeds 255.
    pub(super) fn segments(&self, encoding: &Encoding) -> Option<Vec<u8>> {
        if !self.gives_segments {
            return Some(vec![0; encoding.len()]);
        }
        encoding.get_type_ids().iter().map(|&segment| u8::try_from(segment).ok()).collect()
    }

    /// Decodes sequences of ids to texts, in parallel.
    pub fn decode(&self, ids: &[Vec<u32>], skip_special_tokens: bool) -> Result<Vec<String>> {
        let decode = |ids: &Vec<u32>| {
            self.inner
                .decode(ids, skip_special_tokens)
                .map_err(|e| Error::Data(format!("these ids cannot be decoded: {e}")))
        };
        in_pool(|| ids.par_iter().map(decode).collect())
    }
}

/// Parses a `tokenizer.json`.
pub(super) fn parse_json(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    let unreadable = |e: &dyn std::fmt::Display| Error::Data(format!("tokenizer.json: cannot be read: {e}"));
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| unreadable(&e))?;
    charsmap::check_json(json)?;
    // The library panics at some contradictions in a file, for example a merge that is shorter than the prefix.
    match catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(json))) {
        Ok(parsed) => parsed.map_err(|e| unreadable(&e)),
        Err(_) => Err(unreadable(&"its parts contradict each other")),
    }
}
