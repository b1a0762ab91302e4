//! Tokenizer settings from a directory's JSON files: class, options, special and added tokens.
//!
//! Precedence and order are those of transformers 4.57 (`PreTrainedTokenizerBase._from_pretrained`,
//! `PreTrainedTokenizerFast.__init__`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{AddedToken, Tokenizer};

use super::side_files::SideFiles;
use super::values::{NAMED, check, is_token, length, list, parse, text};
use crate::error::{Error, Result};

/// Class names without "Fast" that do not identify a model family.
pub(super) const GENERIC: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];

/// Contents of the parsed files.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    config: Map<String, Value>,
    /// True if there is a `tokenizer_config.json`.
    is_configured: bool,
    /// True if `tokenizer_config.json` lists the added tokens itself.
    lists_added: bool,
    /// Added tokens by id.
    added: BTreeMap<u32, AddedToken>,
    extra: Vec<AddedToken>,
    model_type: Option<String>,
}

impl Settings {
    /// Reads the settings. `model_type` is that of the model's `config.json`; it decides the class if the files name
    /// none.
    pub fn read(files: &SideFiles, model_type: Option<&str>) -> Result<Self> {
        let object = |name: &str| -> Result<Map<String, Value>> {
            match files.json(name)? {
                None => Ok(Map::new()),
                Some(Value::Object(map)) => check(name, &map).map(|()| map),
                Some(_) => Err(Error::Data(format!("{name}: expected a JSON object"))),
            }
        };
        let mut config = object("tokenizer_config.json")?;
        let mut added = BTreeMap::new();
        let lists_added = config.get("added_tokens_decoder").is_some_and(Value::is_object);
        if let Some(decoder) = config.get("added_tokens_decoder").and_then(Value::as_object) {
            for (id, token) in decoder {
                let (Ok(id), Some(token)) =
                    (id.parse(), parse(token, false).filter(|_| token.is_object() && is_token(token)))
                else {
                    return Err(Error::Data(format!("tokenizer_config.json: added token {id:?} is malformed")));
                };
                added.insert(id, token);
            }
        } else {
            for (key, value) in object("special_tokens_map.json")? {
                match (config.get_mut(&key), value) {
                    // The tokens of both files.
                    (Some(Value::Array(all)), Value::Array(more)) => {
                        all.extend(more.into_iter().filter(|token| !all.contains(token)).collect::<Vec<_>>());
                    }
                    (_, value) => drop(config.insert(key, value)),
                }
            }
            let specials: Vec<String> = names(&config).map(|token| token.content).collect();
            for (content, id) in object("added_tokens.json")? {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| Error::Data(format!("added_tokens.json: {content:?} has no id")))?;
                let special = specials.contains(&content);
                added.insert(id, AddedToken::from(content, special));
            }
        }
        let is_configured = files.0.contains_key("tokenizer_config.json");
        let model_type = model_type.map(str::to_string);
        Ok(Self { config, is_configured, lists_added, added, extra: Vec::new(), model_type })
    }

    /// Settings with the contents of this `tokenizer_config.json` alone.
    pub fn of_config(config: &Value) -> Self {
        Self { config: config.as_object().cloned().unwrap_or_default(), ..Self::default() }
    }

    /// Settings for a model of this type, without any files.
    pub fn of_model(model_type: &str) -> Self {
        Self { model_type: Some(model_type.to_string()), ..Self::default() }
    }

    /// The class that the files name, without "Fast".
    pub fn named_class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class")?.as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// The class that the files name; None if it does not identify a family.
    pub fn class(&self) -> Option<&str> {
        self.named_class().filter(|class| !GENERIC.contains(class))
    }

    /// True if there is a `tokenizer_config.json`.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// The same settings, as if there were an empty `tokenizer_config.json`.
    pub fn as_configured(&self) -> Self {
        Self { is_configured: true, ..self.clone() }
    }

    /// Value of a configuration key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.config.get(key)
    }

    /// Added tokens by id, and true if `tokenizer_config.json` lists them itself.
    pub fn added(&self) -> (&BTreeMap<u32, AddedToken>, bool) {
        (&self.added, self.lists_added)
    }

    /// `model_type` of the model.
    pub fn model_type(&self) -> Option<&str> {
        self.model_type.as_deref()
    }

    /// A boolean option; None if it is not set.
    pub fn option(&self, key: &str) -> Option<bool> {
        self.config.get(key).and_then(Value::as_bool)
    }

    /// A boolean option, or its default.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.option(key).unwrap_or(default)
    }

    /// Maximum input length in tokens; older files call it `max_len`.
    pub fn max_length(&self) -> Option<u64> {
        let said = self.config.get("model_max_length").filter(|said| !said.is_null());
        said.or_else(|| self.config.get("max_len")).and_then(length)
    }

    /// Side from which texts are truncated, if the configuration names one.
    pub fn cut_at(&self) -> Result<Option<TruncationDirection>> {
        match self.config.get("truncation_side").map(|side| (side, side.as_str())) {
            None | Some((Value::Null, _)) => Ok(None),
            Some((_, Some("right"))) => Ok(Some(TruncationDirection::Right)),
            Some((_, Some("left"))) => Ok(Some(TruncationDirection::Left)),
            Some((side, _)) => Err(Error::Data(format!(
                "tokenizer_config.json: truncation_side is {side}; expected \"right\" or \"left\""
            ))),
        }
    }

    /// Whether models get segment ids (`token_type_ids`), if the configuration lists the model's inputs.
    pub fn gives_segments(&self) -> Option<bool> {
        let inputs = self.config.get("model_input_names")?.as_array()?;
        Some(inputs.iter().any(|name| name == "token_type_ids"))
    }

    /// Sets the default of a special token if the files do not name it.
    pub fn default_token(&mut self, key: &str, token: Option<&str>) {
        self.config.entry(key).or_insert_with(|| token.map_or(Value::Null, Value::from));
    }

    /// Removes a special token.
    pub fn remove_token(&mut self, key: &str) {
        self.config.insert(key.into(), Value::Null);
    }

    /// Makes a special token strip the space before it, unless the files say otherwise.
    pub fn default_left_strip(&mut self, key: &str) {
        if let Some(content) = self.config.get(key).and_then(Value::as_str) {
            let token = serde_json::json!({"content": content, "lstrip": true, "special": true});
            self.config.insert(key.into(), token);
        }
    }

    /// Sets the tokens that the model file lists beside its vocabulary; they take precedence over those of the other
    /// files.
    pub fn set_extra(&mut self, tokens: Vec<AddedToken>) {
        self.extra = tokens;
    }

    /// Text of a special token.
    pub fn token(&self, key: &str) -> Option<&str> {
        text(self.config.get(key)?)
    }

    /// Text of a special token; an error if the files do not name it.
    pub fn required(&self, key: &str) -> Result<&str> {
        self.token(key).ok_or_else(|| Error::Data(format!("tokenizer_config.json: {key} is missing")))
    }

    /// Text and id of a special token, for a post-processor.
    pub fn with_id(&self, tokenizer: &Tokenizer, key: &str) -> Result<(String, u32)> {
        let token = self.required(key)?;
        let id = tokenizer.token_to_id(token);
        let id = id.ok_or_else(|| Error::Data(format!("{key} {token:?} is not in the vocabulary")))?;
        Ok((token.to_string(), id))
    }

    /// Adds the added tokens to the tokenizer, then the special tokens, then the extra ones. A token listed with an id
    /// must get that id.
    pub fn add_tokens(&self, tokenizer: &mut Tokenizer) -> Result<()> {
        let bad = |e: tokenizers::Error| Error::Data(format!("special tokens: {e}"));
        let mut tokens: Vec<AddedToken> = self.added.values().cloned().collect();
        for token in names(&self.config) {
            if !tokens.iter().any(|t| t.content == token.content) {
                tokens.push(token);
            }
        }
        // If two tokens have the same text, the later one takes precedence.
        tokens.extend(self.extra.iter().cloned());
        let named: Vec<&str> = NAMED.iter().filter_map(|key| self.token(key)).collect();
        for token in &mut tokens {
            token.special |= named.contains(&token.content.as_str());
        }
        tokenizer.add_tokens(checked(tokens)?).map_err(bad)?;
        self.check_ids(tokenizer)
    }

    /// Checks that added tokens listed with an id have that id.
    pub fn check_ids(&self, tokenizer: &Tokenizer) -> Result<()> {
        for (&id, token) in &self.added {
            let got = tokenizer.token_to_id(&token.content);
            if got != Some(id) {
                let got = got.map_or("does not have it".to_string(), |got| format!("gives it {got}"));
                return Err(Error::Data(format!(
                    "the added token {:?} has id {id} in tokenizer_config.json or added_tokens.json, but the vocabulary \
                     {got}; the files are of different tokenizers",
                    token.content
                )));
            }
        }
        Ok(())
    }
}

/// Returns the tokens; an error if one is longer than any real token, because the automaton that finds them takes a
/// hundred times their length in memory.
pub(super) fn checked(tokens: Vec<AddedToken>) -> Result<Vec<AddedToken>> {
    const LONGEST: usize = 1024;
    match tokens.iter().map(|token| token.content.len()).find(|n| *n > LONGEST) {
        Some(n) => Err(Error::Data(format!("a special or added token has {n} bytes; at most {LONGEST}"))),
        None => Ok(tokens),
    }
}

/// The named special tokens, then the additional ones.
fn names(config: &Map<String, Value>) -> impl Iterator<Item = AddedToken> + '_ {
    let extra =
        ["additional_special_tokens", "extra_special_tokens"].iter().filter_map(|key| config.get(*key)).flat_map(list);
    NAMED.iter().filter_map(|key| config.get(*key)).chain(extra).filter_map(|token| parse(token, true))
}
