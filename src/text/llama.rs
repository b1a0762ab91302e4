//! Llama's tokenizer around a SentencePiece BPE model: spaces are `▁`, unknown characters fall back to bytes.

use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::classes::LLAMA;
use super::settings::Settings;
use super::template::bos_eos;
use crate::error::{Error, Result};

/// Whether the settings name the Llama class.
pub(super) fn is_named(settings: &Settings) -> bool {
    match settings.class() {
        Some(class) => class == "LlamaTokenizer",
        None => settings.model_type().is_some_and(|model_type| ["llama", "mistral"].contains(&model_type)),
    }
}

/// Adds the components of `LlamaTokenizer` to a BPE model.
pub(super) fn assemble(model: BPE, mut settings: Settings) -> Result<Tokenizer> {
    let add_prefix_space = settings.flag("add_prefix_space", true);
    let scheme = match (add_prefix_space, settings.flag("legacy", false)) {
        (false, _) => PrependScheme::Never,
        (true, true) => PrependScheme::Always,
        (true, false) => PrependScheme::First,
    };
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    tokenizer.with_decoder(Some(decoder(add_prefix_space)?));
    for (key, token) in LLAMA {
        settings.default_token(key, Some(token));
    }
    settings.add_tokens(&mut tokenizer)?;
    bos_eos(&mut tokenizer, &settings, false)?;
    Ok(tokenizer)
}

fn decoder(add_prefix_space: bool) -> Result<Sequence> {
    let mut decoders: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(bad)?.into(), ByteFallback::default().into(), Fuse::default().into()];
    if add_prefix_space {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    Ok(Sequence::new(decoders))
}

/// Sets whether a text gets a space before it. With `legacy` each piece of text between special tokens gets one; None
/// keeps what a `tokenizer.json` does. Tokenizers that split words in another way stay as they are.
pub(super) fn set_prefix_space(tokenizer: &mut Tokenizer, add_prefix_space: bool, legacy: Option<bool>) -> Result<()> {
    let legacy = match (tokenizer.get_pre_tokenizer(), tokenizer.get_normalizer()) {
        (None, Some(NormalizerWrapper::Sequence(_))) => legacy.unwrap_or(true),
        (Some(PreTokenizerWrapper::Metaspace(_)), None) => legacy.unwrap_or(false),
        _ => return Ok(()),
    };
    if legacy {
        let mut normalizers: Vec<NormalizerWrapper> = vec![Replace::new(" ", "▁").map_err(bad)?.into()];
        if add_prefix_space {
            normalizers.insert(0, Prepend::new("▁".into()).into());
        }
        tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(bad)?;
        tokenizer.with_pre_tokenizer(None::<PreTokenizerWrapper>);
    } else {
        let scheme = if add_prefix_space { PrependScheme::First } else { PrependScheme::Never };
        tokenizer.with_normalizer(None::<NormalizerWrapper>).map_err(bad)?;
        tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    }
    tokenizer.with_decoder(Some(decoder(add_prefix_space)?));
    Ok(())
}

#[allow(clippy::needless_pass_by_value)]
fn bad(e: tokenizers::Error) -> Error {
    Error::Data(format!("tokenizer: {e}"))
}
