//! Builds the tokenizer from GGUF metadata: model type, special tokens, and the template around a text.

use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::metadata::Metadata;
use super::pre_tokenizers::Around;
use super::reader::Checked;
use super::vocabulary::{CONTROL, SEPARATOR, UNKNOWN, USER_DEFINED, Vocabulary};
use super::{byte_level, sentence_piece, word_piece};

/// Limit on the bytes of all tokens that are matched whole in a text: ten times as many as any model has. The automaton
/// that finds them takes a hundred times as much memory.
const MAX_WHOLE: usize = 1 << 19;

/// Builds the tokenizer.
pub(super) fn build(metadata: &Metadata, file: &[u8], architecture: &str) -> Checked<Tokenizer> {
    let model = metadata.text("tokenizer.ggml.model")?.ok_or("has no tokenizer")?;
    let tokens = metadata.texts("tokenizer.ggml.tokens", file)?.ok_or("has no tokenizer.ggml.tokens")?;
    if u32::try_from(tokens.len()).is_err() || tokens.is_empty() {
        return Err(format!("has {} tokens", tokens.len()));
    }
    let vocabulary = Vocabulary { metadata, file, tokens };
    match model {
        "gpt2" => {
            let (tokenizer, splitting) = byte_level::build(&vocabulary, architecture)?;
            finish(&vocabulary, tokenizer, splitting.around)
        }
        "llama" => finish(&vocabulary, sentence_piece::build(&vocabulary)?, Around::First),
        "bert" => word_piece::build(&vocabulary),
        other => Err(format!("tokenizer.ggml.model is {other:?}; supported: gpt2, llama, bert")),
    }
}

/// Adds special and user-defined tokens, which are matched whole in the text. Adds the first and last token, and the
/// one between the texts of a pair, if the metadata asks for them, else as `default` says.
fn finish(vocabulary: &Vocabulary, mut tokenizer: Tokenizer, default: Around) -> Checked<Tokenizer> {
    let failed = |e: tokenizers::Error| format!("tokenizer: {e}");
    let kinds = vocabulary.numbers("tokenizer.ggml.token_type")?.unwrap_or_default();
    let of_kind = |wanted: &[f64], special: bool| -> Vec<AddedToken> {
        let chosen =
            vocabulary.tokens.iter().zip(&kinds).filter(|(token, kind)| wanted.contains(kind) && !token.is_empty());
        chosen.map(|(token, _)| AddedToken::from((*token).to_string(), special).normalized(false)).collect()
    };
    let whole =
        vocabulary.tokens.iter().zip(&kinds).filter(|(_, kind)| [CONTROL, UNKNOWN, USER_DEFINED].contains(kind));
    let bytes: usize = whole.map(|(token, _)| token.len()).sum();
    if bytes > MAX_WHOLE {
        return Err(format!("has special tokens of {bytes} bytes together; at most {MAX_WHOLE} are supported"));
    }
    tokenizer.add_special_tokens(of_kind(&[CONTROL, UNKNOWN], true)).map_err(failed)?;
    tokenizer.add_tokens(of_kind(&[USER_DEFINED], false)).map_err(failed)?;

    let asks = |key: &str, default: bool| -> Checked<bool> { Ok(vocabulary.metadata.flag(key)?.unwrap_or(default)) };
    let token = |wanted: bool, key: &str| -> Checked<Option<(&str, u32)>> {
        if !wanted {
            return Ok(None);
        }
        vocabulary.special(key)?.map(Some).ok_or_else(|| format!("asks for a {key} token, but has none"))
    };
    let first = token(
        asks("tokenizer.ggml.add_bos_token", default == Around::First && vocabulary.special("bos")?.is_some())?,
        "bos",
    )?;
    let last = token(asks("tokenizer.ggml.add_eos_token", false)?, "eos")?;
    let between = token(
        asks("tokenizer.ggml.add_sep_token", default == Around::Between && vocabulary.special(SEPARATOR)?.is_some())?,
        SEPARATOR,
    )?;
    if let Some(template) = template(first, between, last)? {
        tokenizer.with_post_processor(Some(template));
    }
    Ok(tokenizer)
}

/// Template: each text stands between the first and last token. For a pair the second text does the same or, with a
/// separator, has no first token, as in RoBERTa. All tokens are in segment 0.
fn template(
    first: Option<(&str, u32)>,
    between: Option<(&str, u32)>,
    last: Option<(&str, u32)>,
) -> Checked<Option<PostProcessorWrapper>> {
    let specials: Vec<(String, u32)> =
        [first, between, last].into_iter().flatten().map(|(t, id)| (t.to_string(), id)).collect();
    if specials.is_empty() {
        return Ok(None);
    }
    let around = |before: Option<(&str, u32)>, text: &str| -> Vec<String> {
        let special = |token: Option<(&str, u32)>| token.map(|(token, _)| format!("{token}:0"));
        special(before).into_iter().chain([format!("{text}:0")]).chain(special(last)).collect()
    };
    let failed = |e: String| format!("tokenizer: {e}");
    let mut builder = TemplateProcessing::builder();
    builder.try_single(around(first, "$A")).map_err(failed)?;
    builder.try_pair([around(first, "$A"), around(between.or(first), "$B")].concat()).map_err(failed)?;
    let template = builder.special_tokens(specials).build().map_err(|e| format!("tokenizer: {e}"))?;
    Ok(Some(PostProcessorWrapper::Template(template)))
}
