//! Trains tokenizers on a corpus: WordPiece, byte-level BPE, unigram.
//!
//! The `tokenizers` library does the training. Its input is sorted here, and so are those of its results that come in
//! the order of a hash table, so that a corpus gives the same bytes whatever the number of threads.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::byte_bpe;
use super::classes::Class;
use super::settings::Settings;
use super::side_files::SideFiles;
use super::tokenizer::Tokenizer;
use super::unigram::{self, Unigram};
use super::word_piece;
use super::words::WordCounts;
use crate::error::{Error, Result};

/// Longest word in bytes that a unigram model is trained on: time and memory grow with the square of the length.
const MAX_WORD: usize = 4192;

/// Kind of model to train, with the model family whose layout it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    WordPiece,
    Bpe(byte_bpe::Family),
    Unigram(unigram::Family),
}

impl Kind {
    fn parse(kind: &str, family: Option<&str>) -> Result<Self> {
        Ok(match (kind, family) {
            ("wordpiece", None | Some("bert")) => Self::WordPiece,
            ("bpe", None | Some("gpt2")) => Self::Bpe(byte_bpe::Family::Gpt2),
            ("bpe", Some("roberta")) => Self::Bpe(byte_bpe::Family::Roberta),
            ("unigram", None | Some("xlnet")) => Self::Unigram(unigram::Family::XlNet),
            ("unigram", Some("albert")) => Self::Unigram(unigram::Family::Albert),
            ("wordpiece" | "bpe" | "unigram", Some(family)) => {
                return Err(Error::Value(format!(
                    "kind={kind:?} with family={family:?}; \"wordpiece\" has the family \"bert\", \"bpe\" has \"gpt2\" \
                     and \"roberta\", \"unigram\" has \"xlnet\" and \"albert\""
                )));
            }
            _ => return Err(Error::Value(format!("kind is {kind:?}; expected \"wordpiece\", \"bpe\" or \"unigram\""))),
        })
    }

    /// Class in transformers, special tokens in the order of their ids, and whether text is lower-cased.
    fn layout(self) -> (&'static str, &'static [&'static str], Option<bool>) {
        match self {
            Self::WordPiece => ("BertTokenizer", &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], Some(true)),
            Self::Bpe(byte_bpe::Family::Roberta) => {
                ("RobertaTokenizer", &["<s>", "<pad>", "</s>", "<unk>", "<mask>"], None)
            }
            Self::Bpe(_) => ("GPT2Tokenizer", &["<|endoftext|>"], None),
            Self::Unigram(unigram::Family::Albert) => {
                ("AlbertTokenizer", &["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], Some(true))
            }
            Self::Unigram(_) => (
                "XLNetTokenizer",
                &["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"],
                Some(false),
            ),
        }
    }
}

/// Trains a tokenizer: `feed` counts the words of texts, then `train` makes the tokenizer.
pub struct TokenizerTrainer {
    kind: Kind,
    vocab_size: usize,
    min_frequency: u64,
    config: Value,
    /// Has the normaliser and pre-tokenizer of the tokenizer to be trained; its vocabulary is the special tokens.
    untrained: Tokenizer,
    words: WordCounts,
}

impl TokenizerTrainer {
    /// `kind` is `wordpiece`, `bpe` or `unigram`. `family` selects special tokens and template: `bert` for `wordpiece`;
    /// `gpt2` (default) or `roberta` for `bpe`; `xlnet` (default) or `albert` for `unigram`. Pieces seen less than
    /// `min_frequency` times are left out, and so are such characters where bytes cannot replace them.
    pub fn new(
        kind: &str,
        family: Option<&str>,
        vocab_size: usize,
        min_frequency: u64,
        lowercase: Option<bool>,
    ) -> Result<Self> {
        let kind = Kind::parse(kind, family)?;
        let (class, specials, lower) = kind.layout();
        let mut config = Map::from_iter([("tokenizer_class".to_string(), json!(class))]);
        match (lower, lowercase) {
            (None, Some(true)) => {
                return Err(Error::Value(format!(
                    "lowercase=True: {class} keeps upper case; make the corpus lower case, or use another kind"
                )));
            }
            (None, _) => {}
            (Some(default), lowercase) => {
                drop(config.insert("do_lower_case".into(), lowercase.unwrap_or(default).into()));
            }
        }
        if kind == Kind::Unigram(unigram::Family::XlNet) {
            config.insert("additional_special_tokens".into(), json!(["<eop>", "<eod>"]));
        }
        let config = Value::Object(config);
        let most = 1 << 24;
        if vocab_size <= specials.len() || vocab_size > most {
            return Err(too_small(vocab_size, specials.len() + 1)
                .unwrap_or_else(|| Error::Value(format!("vocab_size={vocab_size}: at most {most}"))));
        }
        let untrained = Self::assemble(kind, &config, kind.of_specials()?)?;
        Ok(Self { kind, vocab_size, min_frequency, config, untrained, words: WordCounts::default() })
    }

    /// Adds the words of these texts to the counts.
    pub fn feed(&mut self, texts: &[String]) -> Result<()> {
        self.words.add(&self.untrained, texts)
    }

    /// Trains the tokenizer; also returns the files that it is saved as.
    pub fn train(self) -> Result<(Tokenizer, SideFiles)> {
        if self.words.0.is_empty() {
            return Err(Error::Data("the corpus is empty: none of its texts has a word in it".into()));
        }
        let model = match self.kind {
            Kind::WordPiece => Model::WordPiece(self.word_piece()?),
            Kind::Bpe(_) => Model::Bpe(self.byte_bpe()?),
            Kind::Unigram(_) => Model::Unigram(self.unigram()?),
        };
        let tokenizer = Self::assemble(self.kind, &self.config, model)?;
        let config = serde_json::to_vec_pretty(&self.config).map_err(|e| Error::Data(e.to_string()))?;
        let files = tokenizer.saved_files(&SideFiles([("tokenizer_config.json".to_string(), config)].into()), None)?;
        Ok((tokenizer, files))
    }

    fn assemble(kind: Kind, config: &Value, model: Model) -> Result<Tokenizer> {
        let settings = Settings::of_config(config);
        let inner = match (kind, model) {
            (_, Model::WordPiece(model)) => word_piece::assemble(model, settings)?,
            (Kind::Bpe(family), Model::Bpe(model)) => byte_bpe::assemble(model, family, settings)?,
            (Kind::Unigram(family), Model::Unigram(model)) => unigram::assemble(model, None, family, settings)?,
            _ => return Err(Error::Data("a model of another kind".into())),
        };
        Tokenizer::new(inner, Class::of(&Settings::of_config(config))?)
    }

    /// Word counts with the rare characters removed; a word is split at each of them.
    fn frequent(&self) -> BTreeMap<String, u64> {
        let mut characters: BTreeMap<char, u64> = BTreeMap::new();
        for (word, n) in &self.words.0 {
            for c in word.chars() {
                *characters.entry(c).or_default() += n;
            }
        }
        let mut words = BTreeMap::new();
        for (word, n) in &self.words.0 {
            for part in word.split(|c| characters.get(&c).is_none_or(|&n| n < self.min_frequency)) {
                if !part.is_empty() {
                    *words.entry(part.to_string()).or_default() += n;
                }
            }
        }
        words
    }

    fn check_room(&self, needed: usize) -> Result<()> {
        too_small(self.vocab_size, needed).map_or(Ok(()), Err)
    }

    fn bpe(&self, words: &BTreeMap<String, u64>, first: Vec<String>, prefix: Option<&str>) -> Result<BPE> {
        self.check_room(first.len())?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(self.vocab_size)
            .min_frequency(self.min_frequency)
            .special_tokens(first.into_iter().map(|token| AddedToken::from(token, true)).collect());
        if let Some(prefix) = prefix {
            trainer = trainer.continuing_subword_prefix(prefix.into());
        }
        let mut model = BPE::default();
        let counts = words.iter().map(|(word, &n)| (word.as_str().into(), n)).collect();
        trainer.build().do_train(&counts, &mut model).map_err(failed)?;
        Ok(model)
    }

    fn byte_bpe(&self) -> Result<BPE> {
        let alphabet: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        let specials = self.kind.layout().1.iter().map(ToString::to_string);
        let first = specials.chain(alphabet.iter().map(ToString::to_string)).collect();
        self.bpe(&self.words.0, first, None)
    }

    fn word_piece(&self) -> Result<WordPiece> {
        let words = self.frequent();
        let alphabet: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
        let inner: BTreeSet<char> = words.keys().flat_map(|word| word.chars().skip(1)).collect();
        let specials = self.kind.layout().1.iter().map(ToString::to_string);
        // The trainer would give the pieces within words ids in the order of a hash table, so they are listed here.
        let first = specials
            .chain(alphabet.iter().map(ToString::to_string))
            .chain(inner.iter().map(|c| format!("##{c}")))
            .collect();
        let model = WordPiece::from_bpe(&self.bpe(&words, first, Some("##"))?);
        let vocab = tokenizers::Model::get_vocab(&model);
        WordPiece::builder()
            .vocab(vocab.into_iter().collect::<Vocab>())
            .unk_token("[UNK]".into())
            .build()
            .map_err(failed)
    }

    fn unigram(&self) -> Result<Unigram> {
        let specials = self.kind.layout().1;
        let words: Vec<(String, u32)> = self
            .frequent()
            .into_iter()
            .filter(|(word, _)| word.len() <= MAX_WORD)
            .map(|(word, n)| (word, u32::try_from(n).unwrap_or(u32::MAX)))
            .collect();
        let alphabet: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
        self.check_room(specials.len() + alphabet.len() + 1)?;
        let trainer = UnigramTrainer::builder()
            .show_progress(false)
            .vocab_size(self.vocab_size as u32)
            .special_tokens(specials.iter().map(|token| AddedToken::from(*token, true)).collect())
            .unk_token(Some("<unk>".into()))
            .build()
            .map_err(|e| failed(e.to_string().into()))?;
        let mut model = tokenizers::models::unigram::Unigram::default();
        // The trainer's partial sums depend on how the words are divided among threads, so it runs on one thread.
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|e| failed(e.into()))?;
        one.install(|| trainer.do_train(words, &mut model)).map_err(failed)?;
        let (first, rest): (Vec<_>, Vec<_>) = model.iter().cloned().enumerate().partition(|(i, _)| *i < specials.len());
        let rest = in_order(rest.into_iter().map(|(_, piece)| piece).collect());
        let pieces = first.into_iter().map(|(_, piece)| piece).chain(rest).collect();
        let unk_id = specials.iter().position(|token| *token == "<unk>").unwrap_or_default();
        Ok(Unigram { pieces, unk_id })
    }
}

/// A model, trained or with special tokens alone.
enum Model {
    WordPiece(WordPiece),
    Bpe(BPE),
    Unigram(Unigram),
}

impl Kind {
    /// A model whose vocabulary is the special tokens alone.
    fn of_specials(self) -> Result<Model> {
        let specials = self.layout().1;
        let ids = || specials.iter().enumerate().map(|(id, token)| (token.to_string(), id as u32));
        Ok(match self {
            Self::WordPiece => {
                Model::WordPiece(WordPiece::builder().vocab(ids().collect::<Vocab>()).build().map_err(failed)?)
            }
            Self::Bpe(_) => Model::Bpe(
                BPE::builder().vocab_and_merges(ids().collect::<Vocab>(), Vec::new()).build().map_err(failed)?,
            ),
            Self::Unigram(_) => Model::Unigram(Unigram {
                pieces: specials.iter().map(|token| (token.to_string(), 0.0)).collect(),
                unk_id: 0,
            }),
        })
    }
}

/// Sorts pieces by descending score, then by text.
///
/// The trainer keeps every character. The ones it had dropped get scores that rise from the smallest in steps of
/// 0.0001, in the order of a hash table; here those scores are reassigned in the order of the characters.
fn in_order(mut pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
    const STEP: f64 = 0.0001;
    let smallest = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut penalty = 0.0;
    let mut kept: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let score = smallest + penalty;
        let found = pieces.iter().filter(|(text, s)| s.to_bits() == score.to_bits() && text.chars().count() == 1);
        let before = kept.len();
        kept.extend(found.map(|(text, score)| (text.clone(), score.to_bits())));
        if kept.len() == before {
            break;
        }
        penalty += STEP;
    }
    let mut scores: Vec<f64> = kept.values().map(|bits| f64::from_bits(*bits)).collect();
    scores.sort_by(f64::total_cmp);
    let by_text: BTreeMap<&String, f64> = kept.keys().zip(scores).collect();
    for (text, score) in &mut pieces {
        if let Some(new) = by_text.get(text) {
            *score = *new;
        }
    }
    pieces.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    pieces
}

fn too_small(vocab_size: usize, needed: usize) -> Option<Error> {
    (vocab_size < needed).then(|| {
        Error::Value(format!(
            "vocab_size={vocab_size} is too small: special tokens and single characters of the corpus take {needed}; give more, \
             or raise min_frequency"
        ))
    })
}

fn failed(e: tokenizers::Error) -> Error {
    Error::Data(format!("training the tokenizer failed: {e}"))
}
