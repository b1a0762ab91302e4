//! The tokenizer of a GGUF file's metadata: its kind, its special tokens, what it adds to a text.

use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::header::Checked;
use super::metadata::Metadata;
use super::pre_tokenizers::Around;
use super::{byte_level, sentence_piece, word_piece};

/// Types of tokens (`tokenizer.ggml.token_type`).
const UNKNOWN: f64 = 2.0;
pub(super) const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;

/// So spelled in the format.
pub(super) const SEPARATOR: &str = "seperator";

/// Bytes of all tokens that are kept whole in a text: ten times the most there are in any model. The automaton that finds
/// them takes a hundred times as much.
const MAX_WHOLE: usize = 1 << 19;

/// The vocabulary as the file has it.
pub(super) struct Vocabulary<'a> {
    pub metadata: &'a Metadata,
    pub file: &'a [u8],
    pub tokens: Vec<&'a str>,
}

/// Build the tokenizer.
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
            vocabulary.finish(tokenizer, splitting.around)
        }
        "llama" => vocabulary.finish(sentence_piece::build(&vocabulary)?, Around::First),
        "bert" => word_piece::build(&vocabulary),
        other => Err(format!("tokenizer.ggml.model is {other:?}; supported: gpt2, llama, bert")),
    }
}

impl<'a> Vocabulary<'a> {
    /// The token whose id the metadata gives under `key`.
    pub fn special(&self, key: &str) -> Checked<Option<(&'a str, u32)>> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = self.metadata.count(&key)? else { return Ok(None) };
        match self.tokens.get(id) {
            Some(token) => Ok(Some((token, id as u32))),
            None => Err(format!("{key} is {id}, but there are {} tokens", self.tokens.len())),
        }
    }

    /// The vocabulary by token; a token that is there twice is an error.
    pub fn ids(&self) -> Checked<tokenizers::models::bpe::Vocab> {
        let ids: tokenizers::models::bpe::Vocab =
            self.tokens.iter().enumerate().map(|(id, token)| ((*token).to_string(), id as u32)).collect();
        if ids.len() < self.tokens.len() {
            return Err(format!("has {} tokens, of which only {} differ", self.tokens.len(), ids.len()));
        }
        Ok(ids)
    }

    /// A number for each token, if the array is there.
    pub fn numbers(&self, key: &str) -> Checked<Option<Vec<f64>>> {
        let numbers = self.metadata.numbers(key, self.file)?;
        match numbers {
            Some(numbers) if numbers.len() != self.tokens.len() => {
                Err(format!("has {} tokens, but {} {key}", self.tokens.len(), numbers.len()))
            }
            numbers => Ok(numbers),
        }
    }

    /// Special and user-defined tokens are kept whole in the text; the first and last token, and the one between the texts of
    /// a pair, are added where they are asked for, or where they are by default.
    fn finish(&self, mut tokenizer: Tokenizer, default: Around) -> Checked<Tokenizer> {
        let failed = |e: tokenizers::Error| format!("tokenizer: {e}");
        let kinds = self.numbers("tokenizer.ggml.token_type")?.unwrap_or_default();
        let of_kind = |wanted: &[f64], special: bool| -> Vec<AddedToken> {
            let chosen =
                self.tokens.iter().zip(&kinds).filter(|(token, kind)| wanted.contains(kind) && !token.is_empty());
            chosen.map(|(token, _)| AddedToken::from((*token).to_string(), special).normalized(false)).collect()
        };
        let whole = self.tokens.iter().zip(&kinds).filter(|(_, kind)| [CONTROL, UNKNOWN, USER_DEFINED].contains(kind));
        let bytes: usize = whole.map(|(token, _)| token.len()).sum();
        if bytes > MAX_WHOLE {
            return Err(format!("has special tokens of {bytes} bytes together; at most {MAX_WHOLE} are supported"));
        }
        tokenizer.add_special_tokens(of_kind(&[CONTROL, UNKNOWN], true)).map_err(failed)?;
        tokenizer.add_tokens(of_kind(&[USER_DEFINED], false)).map_err(failed)?;

        let asks = |key: &str, default: bool| -> Checked<bool> { Ok(self.metadata.flag(key)?.unwrap_or(default)) };
        let token = |wanted: bool, key: &str| -> Checked<Option<(&str, u32)>> {
            if !wanted {
                return Ok(None);
            }
            self.special(key)?.map(Some).ok_or_else(|| format!("asks for a {key} token, but has none"))
        };
        let first = token(
            asks("tokenizer.ggml.add_bos_token", default == Around::First && self.special("bos")?.is_some())?,
            "bos",
        )?;
        let last = token(asks("tokenizer.ggml.add_eos_token", false)?, "eos")?;
        let between = token(
            asks("tokenizer.ggml.add_sep_token", default == Around::Between && self.special(SEPARATOR)?.is_some())?,
            SEPARATOR,
        )?;
        if let Some(template) = template(first, between, last)? {
            tokenizer.with_post_processor(Some(template));
        }
        Ok(tokenizer)
    }
}

/// Every text between its first and last token; of a pair each, or with a separator the second without the first token, as
/// RoBERTa's; all in segment 0.
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
