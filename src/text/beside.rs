//! Applies the files beside a `tokenizer.json` to the tokenizer, as transformers 4.57 does
//! (`PreTrainedTokenizerFast.__init__` and its subclasses). docs/tokenizers.md lists where 5.x differs.

use serde_json::Value;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer};

use super::classes::{Class, Named, Rule};
use super::settings::{Settings, checked};
use super::template::bos_eos;
use super::values::{NAMED, list, parse, text};
use super::{byte_bpe, llama};
use crate::error::{Error, Result};

/// Applies the settings to a tokenizer read from a `tokenizer.json`; true if anything changed. `has_model` says whether
/// a SentencePiece model lies beside it, too. Without a `tokenizer_config.json` no class is assumed.
pub(super) fn apply(
    tokenizer: &mut Tokenizer,
    mut settings: Settings,
    class: Option<&Class>,
    has_model: bool,
) -> Result<bool> {
    let before = parts(tokenizer)?;
    let class = class.filter(|_| settings.is_configured());
    add_tokens(tokenizer, &settings, class)?;
    if settings.flag("split_special_tokens", false) {
        tokenizer.set_encode_special_tokens(true);
        let added = tokenizer.get_added_tokens_decoder();
        let is_plain = |id: &u32| added.get(id).is_some_and(|token| !token.special);
        // The library treats it as text now, but would match it as a token once the tokenizer is saved and read again.
        if let Some((_, token)) = before.1.iter().find(|(id, token)| token.special && is_plain(id)) {
            return Err(Error::Data(format!(
                "tokenizer_config.json: split_special_tokens is true, and added_tokens_decoder says that {:?} is not \
                 special, as it is in tokenizer.json; whether it is split in texts is not clear. Let both files say the same.",
                token.content
            )));
        }
    }
    for (key, token) in class.map_or(&[][..], |class| class.tokens) {
        settings.default_token(key, Some(token));
    }
    let rule = class.map_or(Rule::Nothing, |class| class.rule);
    // In transformers a missing add_prefix_space means false; in Llama's class it means null, which changes nothing.
    let prefix = match (settings.value("add_prefix_space"), rule) {
        (None, Rule::Template { bos: true }) => None,
        (None, _) => settings.is_configured().then_some(false),
        (Some(said), _) => said.as_bool(),
    };
    if let Some(prefix) = prefix {
        byte_bpe::set_prefix_space(tokenizer, prefix);
        if rule == (Rule::Template { bos: true }) {
            let legacy = settings.option("legacy").or(has_model.then_some(true));
            llama::set_prefix_space(tokenizer, prefix, legacy)?;
        }
    }
    match rule {
        Rule::Nothing => {}
        Rule::Bert { chinese } => set_normalizer(tokenizer, &settings, chinese)?,
        Rule::Roberta => set_offsets(tokenizer, &settings),
        Rule::Template { bos } => bos_eos(tokenizer, &settings, bos)?,
    }
    Ok(parts(tokenizer)? != before)
}

/// Changes that transformers would make to a `tokenizer.json` without a `tokenizer_config.json`, from the model type
/// alone, and that are not made here.
pub(super) fn not_done(
    tokenizer: &Tokenizer,
    settings: &Settings,
    class: Option<&Class>,
    has_model: bool,
) -> Option<String> {
    let class = class.filter(|_| !settings.is_configured())?;
    let (mut here, mut there) = (tokenizer.clone(), tokenizer.clone());
    apply(&mut here, settings.clone(), None, has_model).ok()?;
    apply(&mut there, settings.as_configured(), Some(class), has_model).ok()?;
    let name = class.names[0];
    (parts(&here).ok()? != parts(&there).ok()?).then(|| {
        format!(
            "tokenizer.json is taken as it stands, since no tokenizer_config.json lies beside it; transformers reads it as \
             {name} then, which changes its casing, spaces or special tokens; for the same there, write \
             {{\"tokenizer_class\": \"{name}\"}} into a tokenizer_config.json, else \"PreTrainedTokenizerFast\""
        )
    })
}

/// All parts of a tokenizer that [`apply`] can change, to compare them before and after.
fn parts(tokenizer: &Tokenizer) -> Result<(Value, Vec<(u32, AddedToken)>)> {
    let parts = (
        tokenizer.get_normalizer(),
        tokenizer.get_pre_tokenizer(),
        tokenizer.get_post_processor(),
        tokenizer.get_decoder(),
    );
    let parts = serde_json::to_value(parts).map_err(|e| Error::Data(format!("tokenizer.json: {e}")))?;
    let mut added: Vec<(u32, AddedToken)> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    added.sort_by_key(|(id, _)| *id);
    Ok((parts, added))
}

/// Adds the added tokens in the order of their ids, then the special tokens that are not among them.
fn add_tokens(tokenizer: &mut Tokenizer, settings: &Settings, class: Option<&Class>) -> Result<()> {
    let own = tokenizer.get_added_tokens_decoder();
    let (added, listed) = settings.added();
    // If a special token is given by its text alone, its flags come from the other files.
    let described = |content: &str| {
        let found = if listed {
            added.values().find(|t| t.content == content)
        } else {
            own.values().find(|t| t.content == content)
        };
        found.cloned()
    };
    let specials = specials(settings, class, &described);
    let is_special = |token: &AddedToken| specials.iter().any(|(special, _)| special.content == token.content);
    // If tokenizer_config.json has no list of added tokens, the tokens of tokenizer.json take precedence.
    let beside = added.iter().filter(|(id, _)| listed || !own.contains_key(id)).map(|(_, token)| token);
    let mut tokens: Vec<AddedToken> = Vec::new();
    for token in beside.chain(own.values().filter(|_| !listed)) {
        let mut token = token.clone();
        token.special |= is_special(&token);
        if !own.values().any(|t| *t == token) {
            tokens.push(token);
        }
    }
    for (token, by_text) in &specials {
        let known = if *by_text {
            own.values().chain(&tokens).any(|t| t.content == token.content)
        } else {
            // A token that tokenizer.json already has with the same flags is skipped, even if the list changes it.
            own.values().chain(&tokens).any(|t| t == token)
        };
        if !known {
            tokens.push(token.clone());
        }
    }
    for token in &mut tokens {
        token.special |= is_special(token);
        // In transformers 4.57 a special token keeps the `normalized` flag that it had first, in tokenizer.json.
        if let Some(old) = own.values().find(|old| old.special && old.content == token.content) {
            token.normalized = old.normalized;
        }
    }
    tokenizer.add_tokens(checked(tokens)?).map_err(|e| Error::Data(format!("special tokens: {e}")))?;
    settings.check_ids(tokenizer)
}

/// The special tokens, each once, with a flag that is true if only the text is known.
fn specials(
    settings: &Settings,
    class: Option<&Class>,
    described: &dyn Fn(&str) -> Option<AddedToken>,
) -> Vec<(AddedToken, bool)> {
    let by_text = |content: &str| (AddedToken::from(content, true), true);
    let of_class = |key: &str, content: &str| match class.map_or(Named::AsInJson, |class| class.named) {
        Named::StripsMask if key == "mask_token" => (AddedToken::from(content, true).lstrip(true), false),
        Named::StripsNothing => (AddedToken::from(content, true), false),
        _ => by_text(content),
    };
    let mut all: Vec<(AddedToken, bool)> = Vec::new();
    for key in NAMED {
        let default = class.and_then(|class| class.tokens.iter().find(|(k, _)| *k == key));
        let token = match settings.value(key) {
            None => default.map(|(_, content)| of_class(key, content)),
            Some(said) => text(said).and_then(|content| match (described(content), said) {
                (Some(token), _) => Some((token, false)),
                (None, Value::String(_)) => Some(of_class(key, content)),
                (None, _) => parse(said, true).map(|token| (token, false)),
            }),
        };
        all.extend(token);
    }
    match settings.value("additional_special_tokens") {
        None => all.extend(class.map_or(&[][..], |class| class.additional).iter().map(|content| by_text(content))),
        Some(said) => all.extend(list(said).into_iter().filter_map(further)),
    }
    all.extend(settings.value("extra_special_tokens").map_or_else(Vec::new, list).into_iter().filter_map(further));
    let mut once: Vec<(AddedToken, bool)> = Vec::new();
    for token in all {
        if !once.iter().any(|(t, _)| t.content == token.0.content) {
            once.push(token);
        }
    }
    once
}

fn further(said: &Value) -> Option<(AddedToken, bool)> {
    parse(said, true).map(|token| (token, said.is_string()))
}

fn set_normalizer(tokenizer: &mut Tokenizer, settings: &Settings, chinese: bool) -> Result<()> {
    // Only a BertNormalizer has these options.
    if let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() {
        let normalizer = BertNormalizer::new(
            normalizer.clean_text,
            if chinese { settings.flag("tokenize_chinese_chars", true) } else { normalizer.handle_chinese_chars },
            settings.option("strip_accents"),
            settings.flag("do_lower_case", true),
        );
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| Error::Data(format!("tokenizer.json: {e}")))?;
    }
    Ok(())
}

fn set_offsets(tokenizer: &mut Tokenizer, settings: &Settings) {
    let (trim, prefix) = (settings.flag("trim_offsets", true), settings.flag("add_prefix_space", false));
    match tokenizer.get_post_processor().cloned() {
        Some(PostProcessorWrapper::Roberta(processing)) => {
            tokenizer.with_post_processor(Some(processing.trim_offsets(trim).add_prefix_space(prefix)));
        }
        Some(PostProcessorWrapper::ByteLevel(processing)) => {
            tokenizer.with_post_processor(Some(processing.trim_offsets(trim).add_prefix_space(prefix)));
        }
        _ => {}
    }
}
