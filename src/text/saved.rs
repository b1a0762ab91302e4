//! The files of a saved tokenizer: every reader, transformers included, gets the same tokenizer from them.

use serde_json::{Map, Value, json};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::classes::{Class, Rule};
use super::settings::Settings;
use super::side_files::SideFiles;
use super::tokenizer::Tokenizer;
use super::values::{NAMED, text};
use crate::error::{Error, Result};

const CONFIG: &str = "tokenizer_config.json";
const JSON: &str = "tokenizer.json";

impl Tokenizer {
    /// The files to save, made from those that the tokenizer was read from. `tokenizer.json` includes the changes from
    /// the files beside it, and `tokenizer_config.json` states what would otherwise be assumed. `takes_segments` is
    /// whether the model takes segment ids, if a model is saved too.
    pub fn saved_files(&self, files: &SideFiles, takes_segments: Option<bool>) -> Result<SideFiles> {
        let mut saved = files.clone();
        let has_json = files.0.contains_key(JSON);
        if !has_json || self.is_changed {
            saved.0.insert(JSON.into(), self.full_json(files)?);
        }
        let read = config_of(files)?;
        let mut config = read.clone().unwrap_or_default();
        match (has_json, &read) {
            (false, _) => self.say_all(&mut config, &named_beside(files)?),
            (true, None) => config = self.as_it_stands(&named_beside(files)?),
            (true, Some(_)) => {
                if let Some(class) = self.class {
                    config.entry("tokenizer_class").or_insert(class.names[0].into());
                    self.agree_on_tokens(&mut config, class);
                }
            }
        }
        // The generic class of transformers 5 is unknown to 4.57; and some classes would be rebuilt by 5 without what
        // was read.
        let generic = config.get("tokenizer_class").is_some_and(|class| class == "TokenizersBackend");
        if generic || self.class.is_some_and(|class| class.stands) {
            for (key, value) in self.as_it_stands(&config) {
                if key == "tokenizer_class" {
                    config.insert(key, value);
                } else {
                    config.entry(key).or_insert(value);
                }
            }
        }
        let declared = takes_segments.or(self.class.is_some_and(|class| class.segments).then_some(true));
        if let Some(declared) = declared {
            let inputs = if declared { &INPUTS[..] } else { &[INPUTS[0], INPUTS[2]] };
            config.entry("model_input_names").or_insert(json!(inputs));
        }
        // Models without segment embeddings fail on segment ids, or take them for tokens.
        if let (Some(false), Some(Value::Array(inputs))) = (takes_segments, config.get_mut("model_input_names")) {
            inputs.retain(|input| input != INPUTS[1]);
        }
        if read.as_ref() != Some(&config) {
            saved.0.insert(CONFIG.into(), pretty(CONFIG, &config.into())?);
        }
        Ok(saved)
    }

    /// The `tokenizer.json`, with the padding and truncation of the file that was read, which this library does not
    /// use.
    fn full_json(&self, files: &SideFiles) -> Result<Vec<u8>> {
        let bad = |e: serde_json::Error| Error::Data(format!("{JSON}: {e}"));
        let Some(read) = files.json(JSON)? else { return Ok(self.to_json()?.into_bytes()) };
        let mut json: Value = serde_json::from_str(&self.to_json()?).map_err(bad)?;
        for part in ["padding", "truncation"] {
            json[part] = read[part].clone();
        }
        pretty(JSON, &json)
    }

    /// Writes the defaults of the tokenizer class into the configuration.
    fn say_all(&self, config: &mut Map<String, Value>, named: &Map<String, Value>) {
        let Some(class) = self.class else { return };
        config.entry("tokenizer_class").or_insert(class.names[0].into());
        for &(key, token) in class.tokens {
            if !named.contains_key(key) {
                let known = self.inner.token_to_id(token).is_some();
                config.entry(key).or_insert(if known { token.into() } else { Value::Null });
            }
        }
        if !class.additional.is_empty() {
            config.entry("additional_special_tokens").or_insert(json!([]));
        }
        match (class.rule, self.inner.get_normalizer()) {
            (Rule::Bert { .. }, Some(NormalizerWrapper::BertNormalizer(normalizer))) => {
                config.insert("do_lower_case".into(), normalizer.lowercase.into());
                config.insert("strip_accents".into(), normalizer.strip_accents.into());
                config.insert("tokenize_chinese_chars".into(), normalizer.handle_chinese_chars.into());
            }
            (Rule::Template { .. }, _) => {
                for key in ["add_bos_token", "add_eos_token"] {
                    config.entry(key).or_insert(false.into());
                }
                // With this key transformers would rebuild the tokenizer from the SentencePiece model.
                config.remove("add_prefix_space");
            }
            _ => {}
        }
        if let Some(Value::Object(added)) = config.get_mut("added_tokens_decoder") {
            // transformers takes this list for all added tokens.
            for (id, token) in self.inner.get_added_tokens_decoder() {
                added.insert(id.to_string(), json!(token));
            }
        }
    }

    /// Makes the list of added tokens agree with `tokenizer.json`, so that it overrides the defaults of the class.
    fn agree_on_tokens(&self, config: &mut Map<String, Value>, class: &Class) {
        let added = self.inner.get_added_tokens_decoder();
        let Some(Value::Object(listed)) = config.get_mut("added_tokens_decoder").filter(|_| self.is_changed) else {
            return;
        };
        for (id, token) in listed.iter_mut() {
            if let Some(now) = id.parse().ok().and_then(|id: u32| added.get(&id)) {
                *token = json!(now);
            }
        }
        let is_listed = |content: &str| listed.values().any(|token| text(token) == Some(content));
        let assumed: Vec<_> = class.tokens.iter().filter(|(_, content)| is_listed(content)).collect();
        for (key, content) in assumed {
            config.entry(*key).or_insert((*content).into());
        }
    }

    /// A configuration with which transformers takes `tokenizer.json` as it stands.
    pub(super) fn as_it_stands(&self, named: &Map<String, Value>) -> Map<String, Value> {
        let mut config = Map::from_iter([("tokenizer_class".to_string(), json!("PreTrainedTokenizerFast"))]);
        if let Some(PreTokenizerWrapper::ByteLevel(bytes)) = self.inner.get_pre_tokenizer() {
            config.insert("add_prefix_space".into(), bytes.add_prefix_space.into());
        }
        let added = self.inner.get_added_tokens_decoder();
        for &(key, token) in self.class.map_or(&[][..], |class: &Class| class.tokens) {
            if !named.contains_key(key) && added.values().any(|added| added.special && added.content == token) {
                config.insert(key.into(), token.into());
            }
        }
        config
    }
}

const INPUTS: [&str; 3] = ["input_ids", "token_type_ids", "attention_mask"];

impl SideFiles {
    /// Files for a tokenizer that was not read from files, for a model of this type.
    pub fn of_tokenizer(tokenizer: tokenizers::Tokenizer, model_type: &str) -> Result<Self> {
        let class = Class::of(&Settings::of_model(model_type))?;
        let tokenizer = Tokenizer::new(tokenizer, class)?;
        let config = tokenizer.as_it_stands(&Map::new());
        let files = [(JSON, tokenizer.to_json()?.into_bytes()), (CONFIG, pretty(CONFIG, &config.into())?)];
        Ok(Self(files.map(|(name, bytes)| (name.to_string(), bytes)).into()))
    }

    /// Files from which a tokenizer is read as version 1 read it: it took a `tokenizer.json` as it stands.
    pub fn of_version_1(self, model_type: Option<&str>) -> Result<Self> {
        let Some(json) = self.0.get(JSON).cloned() else { return Ok(self) };
        if Tokenizer::from_files(&self, model_type).is_ok_and(|tokenizer| tokenizer.reads_as_version_1()) {
            return Ok(self);
        }
        let alone = Tokenizer::from_files(&Self([(JSON.to_string(), json)].into()), model_type)?;
        let (mut named, mut files) = (named_beside(&self)?, self);
        let read = config_of(&files)?.unwrap_or_default();
        named.extend(read.clone().into_iter().filter(|(key, _)| !named.contains_key(key)).collect::<Vec<_>>());
        let mut config = alone.as_it_stands(&Map::new());
        config.insert("truncation_side".into(), "right".into());
        let added = alone.inner.get_added_tokens_decoder();
        for key in NAMED {
            let token = named.get(key).and_then(text);
            if let Some(token) = token.filter(|token| added.values().any(|added| added.content == **token)) {
                config.insert(key.into(), token.into());
            }
        }
        // Version 1 accepted only a positive integer as a limit.
        let length = read.get("model_max_length").filter(|length| length.as_u64().is_some_and(|tokens| tokens > 0));
        config.extend(length.map(|length| ("model_max_length".to_string(), length.clone())));
        for name in ["special_tokens_map.json", "added_tokens.json"] {
            files.0.remove(name);
        }
        files.0.insert(CONFIG.into(), pretty(CONFIG, &config.into())?);
        Ok(files)
    }

    /// Makes a byte-level tokenizer put a space before a text that does not begin with one; None if it is not
    /// byte-level, or does so already.
    pub fn with_prefix_space(&self, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        match tokenizer.inner.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::ByteLevel(bytes)) if !bytes.add_prefix_space => {}
            _ => return Ok(None),
        }
        let mut files = tokenizer.saved_files(self, None)?;
        let mut config = config_of(&files)?.unwrap_or_default();
        config.insert("add_prefix_space".into(), true.into());
        files.0.insert(CONFIG.into(), pretty(CONFIG, &config.into())?);
        Ok(Some(files))
    }
}

fn config_of(files: &SideFiles) -> Result<Option<Map<String, Value>>> {
    Ok(files.json(CONFIG)?.and_then(|config| config.as_object().cloned()))
}

/// The contents of `special_tokens_map.json`, which override `tokenizer_config.json`.
fn named_beside(files: &SideFiles) -> Result<Map<String, Value>> {
    let named = files.json("special_tokens_map.json")?.and_then(|named| named.as_object().cloned());
    Ok(named.unwrap_or_default())
}

fn pretty(name: &str, value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|e| Error::Data(format!("{name}: {e}")))
}
