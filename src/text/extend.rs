//! Adds tokens to an existing tokenizer: all old ids, pieces and merges stay.
//!
//! The change is made in the text of `tokenizer.json`, so that every reader gets the same tokenizer. A token that the
//! tokenizer treats as one word becomes part of the model: in WordPiece a whole word; in a unigram model a piece as
//! likely as its old pieces together; in BPE new merges after the old ones, where a word of k pieces needs k - 1
//! merges, each with a token. A token that would be split into several words, such as `[NEW]`, becomes an added token,
//! matched as it is written. Ids ascend, so a new WordPiece or unigram piece comes after the added tokens, which must
//! then stand in the model's vocabulary as well. If the model could then produce such an added token in texts where it
//! is not matched, the new word becomes an added token too.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tokenizers::tokenizer::pre_tokenizer::PreTokenizedString;
use tokenizers::{Model, ModelWrapper, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizer};

use super::side_files::{SENTENCE_PIECE_FILES, SideFiles};
use super::tokenizer::{Tokenizer, parse_json};
use super::words::{WordCounts, each_piece};
use crate::error::{Error, Result};

/// Result of extending a tokenizer.
pub struct Extension {
    /// The model's side files with the new tokenizer.
    pub files: SideFiles,
    /// Each new id, ascending, with the old ids of the pieces that it replaces.
    pub rows: Vec<(u32, Vec<u32>)>,
}

/// Collects word counts and extends the vocabulary of a tokenizer.
pub struct Extender<'a> {
    tokenizer: &'a Tokenizer,
    words: WordCounts,
}

/// A tokenizer.json while it is being changed.
struct Draft<'a> {
    tokenizer: &'a Tokenizer,
    json: Value,
    next_id: u32,
    /// True if the model's vocabulary cannot continue after the added tokens.
    is_closed: bool,
    rows: Vec<(u32, Vec<u32>)>,
    /// New BPE merges with their rank.
    merges: HashMap<(String, String), usize>,
    known: HashSet<String>,
    made: HashMap<String, u32>,
}

impl<'a> Extender<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, words: WordCounts::default() }
    }

    /// Adds the whole words of these texts to the counts.
    pub fn feed(&mut self, texts: &[String]) -> Result<()> {
        self.words.add_whole(self.tokenizer, texts)
    }

    /// Adds the words that save most: those with the largest product of occurrences and pieces saved, if they occur at
    /// least twice, ties in order of text. At most `n_tokens` ids are added.
    pub fn choose(self, files: &SideFiles, n_tokens: usize) -> Result<Extension> {
        let mut draft = Draft::new(self.tokenizer, files)?;
        let mut saved: Vec<(u64, &str)> = Vec::new();
        for (word, &n) in self.words.0.iter().filter(|(_, n)| **n >= 2) {
            let pieces = draft.pieces(word)?;
            // Skips words with an unknown piece: their pieces do not spell the word.
            let split: String = pieces.iter().map(|(text, _)| text.strip_prefix("##").unwrap_or(text)).collect();
            if pieces.len() > 1 && split == *word {
                saved.push((n * (pieces.len() as u64 - 1), word));
            }
        }
        saved.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.cmp(y)));
        for (_, word) in saved {
            if draft.rows.len() == n_tokens {
                break;
            }
            draft.add_word(word, n_tokens - draft.rows.len())?;
        }
        draft.finish(files)
    }

    /// Adds these tokens; those that already are one token are skipped.
    pub fn tokens(self, files: &SideFiles, tokens: &[String]) -> Result<Extension> {
        let mut draft = Draft::new(self.tokenizer, files)?;
        for token in tokens {
            if token.trim().is_empty() {
                return Err(Error::Value(format!("a new token must have text in it, got {token:?}")));
            }
            match single_word(self.tokenizer, token)? {
                Some(word) => draft.add_word(&word, usize::MAX)?,
                None => draft.add_token(token)?,
            }
        }
        draft.finish(files)
    }
}

/// Whether an added token, if it stood in the model's vocabulary, could be found by the model in texts where it is not
/// matched.
fn is_reachable(tokenizer: &Tokenizer, token: &Value) -> Result<bool> {
    let (inner, content) = (&tokenizer.inner, token["content"].as_str().unwrap_or_default());
    let is_matched_everywhere = token["normalized"] == true && token["single_word"] != true;
    let pieces_are_merged = matches!(inner.get_model(), ModelWrapper::BPE(_));
    if is_matched_everywhere || pieces_are_merged || inner.get_model().token_to_id(content).is_some() {
        return Ok(false);
    }
    let failed = |e: tokenizers::Error| Error::Data(format!("{content:?} cannot be cut into words: {e}"));
    let mut text = NormalizedString::from(content);
    inner.get_normalizer().map_or(Ok(()), |normalizer| normalizer.normalize(&mut text)).map_err(failed)?;
    let is_normal = text.get().contains(content);
    let mut words = PreTokenizedString::from(text);
    inner.get_pre_tokenizer().map_or(Ok(()), |cutter| cutter.pre_tokenize(&mut words)).map_err(failed)?;
    Ok(is_normal && words.get_splits(OffsetReferential::Original, OffsetType::Byte).len() == 1)
}

/// The form of a token in the middle of a text, after a space; None if it would be split into several words.
fn single_word(tokenizer: &Tokenizer, token: &str) -> Result<Option<String>> {
    let mut pieces = Vec::new();
    each_piece(tokenizer, &format!("a {}", token.trim()), &mut |piece, _| pieces.push(piece.to_string()))
        .map_err(|e| Error::Data(format!("{token:?} cannot be cut into words: {e}")))?;
    Ok(if pieces.len() == 2 { pieces.pop() } else { None })
}

impl<'a> Draft<'a> {
    fn new(tokenizer: &'a Tokenizer, files: &SideFiles) -> Result<Self> {
        let files = tokenizer.saved_files(files, None)?;
        let json = files.json("tokenizer.json")?.unwrap_or_default();
        let known = tokenizer.inner.get_vocab(true).into_keys().collect();
        let next_id = tokenizer.vocab_size() as u32;
        let mut is_closed = false;
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            is_closed |= is_reachable(tokenizer, token)?;
        }
        let (rows, merges, made) = (Vec::new(), HashMap::new(), HashMap::new());
        Ok(Self { tokenizer, json, next_id, is_closed, rows, merges, known, made })
    }

    /// Texts and ids of the pieces into which the old model splits a word.
    fn pieces(&self, word: &str) -> Result<Vec<(String, u32)>> {
        let tokens = self.tokenizer.inner.get_model().tokenize(word);
        let tokens = tokens.map_err(|e| Error::Data(format!("{word:?} cannot be tokenised: {e}")))?;
        Ok(tokens.into_iter().map(|token| (token.value, token.id)).collect())
    }

    fn new_id(&mut self, text: &str) -> Result<u32> {
        let old = self.pieces(text)?.into_iter().map(|(_, id)| id).collect();
        Ok(self.new_row(text, old))
    }

    fn new_row(&mut self, text: &str, old: Vec<u32>) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.rows.push((id, old));
        self.known.insert(text.to_string());
        self.made.insert(text.to_string(), id);
        id
    }

    /// Makes a word a single token, unless it is one already or `room` ids are too few.
    fn add_word(&mut self, word: &str, room: usize) -> Result<()> {
        match self.tokenizer.inner.get_model() {
            ModelWrapper::BPE(_) => self.add_merges(word, room),
            _ if self.known.contains(word) || room == 0 => Ok(()),
            ModelWrapper::WordPiece(_) | ModelWrapper::Unigram(_) if self.is_closed => self.add_matched_word(word),
            ModelWrapper::WordPiece(_) => {
                let id = self.new_id(word)?;
                self.json["model"]["vocab"][word] = id.into();
                Ok(())
            }
            ModelWrapper::Unigram(_) => self.add_piece(word),
            ModelWrapper::WordLevel(_) => Err(Error::Value(
                "extend_vocabulary: a tokenizer of whole words only has no pieces to begin from".into(),
            )),
        }
    }

    fn add_merges(&mut self, word: &str, room: usize) -> Result<()> {
        for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if self.json["model"][affix].as_str().is_some_and(|affix| !affix.is_empty()) {
                return Err(Error::Value(format!("extend_vocabulary: a BPE tokenizer with {affix} is not supported")));
            }
        }
        let mut pieces: Vec<String> = self.pieces(word)?.into_iter().map(|(text, _)| text).collect();
        if pieces.concat() != word {
            return Err(Error::Value(format!("{word:?} has characters that the vocabulary knows only as bytes")));
        }
        // Apply the new merges made so far.
        while let Some((_, at)) = pieces
            .windows(2)
            .enumerate()
            .filter_map(|(i, pair)| Some((*self.merges.get(&(pair[0].clone(), pair[1].clone()))?, i)))
            .min()
        {
            let right = pieces.remove(at + 1);
            pieces[at].push_str(&right);
        }
        let made = |n: usize| pieces[..=n].concat();
        if (1..pieces.len()).filter(|&n| !self.known.contains(&made(n))).count() > room {
            return Ok(());
        }
        for (n, right) in pieces.iter().enumerate().skip(1) {
            let (left, right, text) = (made(n - 1), right.clone(), made(n));
            if !self.known.contains(&text) {
                let id = self.new_id(&text)?;
                self.json["model"]["vocab"][&text] = id.into();
            }
            if let Some(merges) = self.json["model"]["merges"].as_array_mut() {
                // Older files write a merge as one string.
                merges.push(match merges.first() {
                    Some(Value::String(_)) => json!(format!("{left} {right}")),
                    _ => json!([left, right]),
                });
            }
            self.merges.insert((left, right), self.merges.len());
        }
        Ok(())
    }

    fn add_piece(&mut self, word: &str) -> Result<()> {
        let old = self.pieces(word)?;
        let vocab = self.json["model"]["vocab"].as_array_mut().map(std::mem::take);
        let mut vocab = vocab.ok_or_else(|| Error::Data("tokenizer.json: its model has no vocabulary".into()))?;
        let scores: Vec<f64> = vocab.iter().map(|piece| piece[1].as_f64().unwrap_or(0.0)).collect();
        let smallest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        // A little more likely than its pieces together, so that it is preferred; unknown characters have no
        // likelihood.
        let known = old.iter().all(|(text, id)| vocab.get(*id as usize).is_some_and(|piece| piece[0] == **text));
        let likelihood = old.iter().filter_map(|(_, id)| scores.get(*id as usize)).sum::<f64>() + 1e-6;
        self.fill(&mut vocab, smallest);
        vocab.push(json!([word, if known { likelihood } else { smallest }]));
        self.json["model"]["vocab"] = vocab.into();
        self.new_row(word, old.into_iter().map(|(_, id)| id).collect());
        Ok(())
    }

    /// In a list vocabulary the index is the id, so the added tokens that come before are inserted, too.
    fn fill(&self, vocab: &mut Vec<Value>, score: f64) {
        while vocab.len() < self.next_id as usize {
            let id = vocab.len();
            let mut added = self.json["added_tokens"].as_array().into_iter().flatten();
            let added = added.find(|token| token["id"] == id).and_then(|token| token["content"].as_str());
            vocab.push(json!([added.map_or(format!("<unused{id}>"), str::to_string), score]));
        }
    }

    /// Readers renumber added tokens after the model's vocabulary, so those before its last id are put in its map, too.
    fn pin_added_tokens(&mut self) {
        let added = self.json["added_tokens"].as_array().cloned().unwrap_or_default();
        let Some(vocab) = self.json["model"]["vocab"].as_object_mut() else { return };
        let last = vocab.values().filter_map(Value::as_u64).max();
        for token in added.into_iter().filter(|token| token["id"].as_u64() < last) {
            if let Some(content) = token["content"].as_str() {
                vocab.entry(content).or_insert(token["id"].clone());
            }
        }
    }

    /// Makes a word an added token, matched only as a whole word of the normalised text.
    fn add_matched_word(&mut self, word: &str) -> Result<()> {
        let content = word.strip_prefix('▁').unwrap_or(word);
        if self.known.contains(content) {
            return Ok(());
        }
        let old = self.pieces(word)?.into_iter().map(|(_, id)| id).collect();
        self.push_token(content, old, json!({"single_word": true, "lstrip": content != word, "normalized": true}))
    }

    fn add_token(&mut self, token: &str) -> Result<()> {
        if self.known.contains(token) {
            return Ok(());
        }
        let old = self.tokenizer.inner.encode(token, false);
        let old = old.map_err(|e| Error::Data(format!("{token:?} cannot be tokenised: {e}")))?.get_ids().to_vec();
        self.push_token(token, old, json!({"single_word": false, "lstrip": false, "normalized": false}))
    }

    fn push_token(&mut self, token: &str, old: Vec<u32>, mut added: Value) -> Result<()> {
        for (key, value) in [("content", json!(token)), ("rstrip", json!(false)), ("special", json!(false))] {
            added[key] = value;
        }
        self.is_closed |= is_reachable(self.tokenizer, &added)?;
        added["id"] = self.new_row(token, old).into();
        match self.json["added_tokens"].as_array_mut() {
            Some(tokens) => tokens.push(added),
            None => self.json["added_tokens"] = json!([added]),
        }
        Ok(())
    }

    fn finish(mut self, files: &SideFiles) -> Result<Extension> {
        self.pin_added_tokens();
        let bytes = serde_json::to_vec(&self.json).map_err(|e| Error::Data(format!("tokenizer.json: {e}")))?;
        let tokenizer = parse_json(&bytes)?;
        let old = self.tokenizer.inner.get_vocab(true);
        if let Some((text, id)) =
            old.iter().chain(&self.made).find(|(text, id)| tokenizer.token_to_id(text) != Some(**id))
        {
            return Err(Error::Data(format!("extend_vocabulary: the token {text:?} would not keep its id {id}")));
        }
        let mut files = self.tokenizer.saved_files(files, None)?;
        let vocabularies = ["vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"];
        for name in vocabularies.iter().chain(&SENTENCE_PIECE_FILES) {
            files.0.remove(*name);
        }
        files.0.insert("tokenizer.json".into(), bytes);
        // If this list exists, transformers takes it for all added tokens.
        if let Some(mut config) = files.json("tokenizer_config.json")?.filter(|c| c["added_tokens_decoder"].is_object())
        {
            for token in self.json["added_tokens"].as_array().into_iter().flatten() {
                let (Some(id), Some(mut fields)) = (token["id"].as_u64(), token.as_object().cloned()) else { continue };
                fields.remove("id");
                config["added_tokens_decoder"][id.to_string()] = fields.into();
            }
            let text =
                serde_json::to_vec_pretty(&config).map_err(|e| Error::Data(format!("tokenizer_config.json: {e}")))?;
            files.0.insert("tokenizer_config.json".into(), text);
        }
        Ok(Extension { files, rows: self.rows })
    }
}
