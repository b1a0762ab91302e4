//! SentencePiece's `.model` files: XLNet, ALBERT, XLM-RoBERTa, CamemBERT (unigram) and Llama, Mistral (BPE).
//!
//! Components and defaults are those of these families' tokenizers in transformers 5: pieces, scores and the compiled
//! normalisation come from the file, the handling of spaces from the family, whatever the file says. The file is a
//! `ModelProto` of <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>.

use std::collections::HashMap;

use tokenizers::AddedToken;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};

use super::proto::{Fields, Value};
use super::settings::Settings;
use super::unigram::{self, Unigram};
use super::{charsmap, llama};
use crate::error::{Error, Result};

/// Longest piece in bytes: real models stay below 100, and some costs grow with its square.
const MAX_PIECE: usize = 1024;

/// A piece of the vocabulary; its index is its id.
pub(super) struct Piece {
    pub text: String,
    pub score: f64,
    kind: u64,
}

/// The fields of a model file that are used.
pub(super) struct Model {
    pub pieces: Vec<Piece>,
    pub unk_id: usize,
    /// Compiled normalisation; empty if there is none.
    charsmap: Vec<u8>,
    /// 1 unigram, 2 BPE, 3 words, 4 characters.
    kind: u64,
}

const UNIGRAM: u64 = 1;
const BPE_MODEL: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

impl Model {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut model = Self { pieces: Vec::new(), unk_id: 0, charsmap: Vec::new(), kind: UNIGRAM };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => model.pieces.push(Piece::parse(piece)?),
                (2, Value::Bytes(trainer)) => {
                    for field in Fields(trainer) {
                        match field? {
                            (3, Value::Varint(kind)) => model.kind = kind,
                            (40, Value::Varint(id)) => model.unk_id = usize::try_from(id).unwrap_or(usize::MAX),
                            _ => {}
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    for field in Fields(normalizer) {
                        if let (2, Value::Bytes(map)) = field? {
                            model.charsmap = map.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(Error::Data("it has no pieces".into()));
        }
        Ok(model)
    }

    /// Control and user-defined symbols, which are matched before anything else.
    fn symbols(&self) -> Vec<AddedToken> {
        let symbols = self.pieces.iter().filter(|p| p.kind == CONTROL || p.kind == USER_DEFINED);
        symbols.map(|p| AddedToken::from(p.text.as_str(), p.kind == CONTROL).normalized(false)).collect()
    }

    fn expect(&self, kind: u64, class: &str) -> Result<()> {
        let name = |kind| ["unknown", "unigram", "BPE", "word", "character"].get(kind as usize).unwrap_or(&"unknown");
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::Data(format!("{class} needs a {} model, this is a {} model", name(kind), name(self.kind))))
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: 1 };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(text)) if text.len() <= MAX_PIECE => {
                    let text = std::str::from_utf8(text).map_err(|_| Error::Data("a piece is not UTF-8".into()))?;
                    piece.text = text.to_string();
                }
                (1, Value::Bytes(text)) => {
                    return Err(Error::Data(format!("a piece has {} bytes; at most {MAX_PIECE}", text.len())));
                }
                (2, Value::Fixed32(bits)) => piece.score = f64::from(f32::from_bits(bits)),
                (3, Value::Varint(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        if piece.text.is_empty() || piece.score.is_nan() {
            return Err(Error::Data("a piece is empty or has no score".into()));
        }
        Ok(piece)
    }
}

/// Build the tokenizer from the contents of the file `name`.
pub(super) fn build(name: &str, bytes: &[u8], settings: Settings) -> Result<Tokenizer> {
    let in_file = |e: Error| match e {
        Error::Data(message) => Error::Data(format!("{name}: {message}")),
        other => other,
    };
    let model = Model::parse(bytes).map_err(in_file)?;
    convert(model, settings, bytes.len()).map_err(in_file)
}

fn convert(model: Model, mut settings: Settings, file_bytes: usize) -> Result<Tokenizer> {
    settings.set_extra(model.symbols());
    if llama::is_named(&settings) {
        model.expect(BPE_MODEL, "LlamaTokenizer")?;
        return llama::assemble(bpe(&model.pieces, file_bytes)?, settings);
    }
    let family = unigram::Family::of(&settings)?;
    model.expect(UNIGRAM, family.class())?;
    let normalization = match model.charsmap.as_slice() {
        [] => None,
        map => Some(charsmap::normalizer(map)?),
    };
    let unigram =
        Unigram { pieces: model.pieces.into_iter().map(|p| (p.text, p.score)).collect(), unk_id: model.unk_id };
    unigram::assemble(family.renumber(unigram, &settings), normalization, family, settings)
}

/// The BPE model with all merges that the pieces allow: every split of a piece into two other pieces, in the order of
/// the pieces' ids.
fn bpe(pieces: &[Piece], file_bytes: usize) -> Result<BPE> {
    // Pieces that are prefixes of one another allow so many splits that they could fill the memory.
    const MOST: usize = 64;
    let vocab: HashMap<&str, u32> = pieces.iter().enumerate().map(|(id, p)| (p.text.as_str(), id as u32)).collect();
    let (mut merges, mut bytes) = (Vec::new(), 0);
    for (id, piece) in pieces.iter().enumerate() {
        if vocab.get(piece.text.as_str()) != Some(&(id as u32)) {
            continue;
        }
        for (cut, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(cut);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((left.to_string(), right.to_string()));
                bytes += piece.text.len() + size_of::<(String, String)>();
            }
        }
        if bytes / MOST > file_bytes {
            return Err(Error::Data("its pieces can be cut in more ways than those of any real model".into()));
        }
    }
    let vocab: Vocab = vocab.into_iter().map(|(text, id)| (text.to_string(), id)).collect();
    let model = BPE::builder().vocab_and_merges(vocab, merges).fuse_unk(true).byte_fallback(true);
    model.build().map_err(|e| Error::Data(e.to_string()))
}
