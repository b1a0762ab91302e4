//! Llama's tokenizer around a SentencePiece BPE model: spaces as `▁`, bytes where a character is unknown.

use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::settings::Settings;
use super::template::bos_eos;
use crate::error::{Error, Result};

/// Whether the settings name this family.
pub(super) fn is_named(settings: &Settings) -> bool {
    match settings.class() {
        Some(class) => class == "LlamaTokenizer",
        None => settings.model_type().is_some_and(|model_type| ["llama", "mistral"].contains(&model_type)),
    }
}

/// The tokenizer around its model, as `LlamaTokenizer`.
pub(super) fn assemble(model: BPE, mut settings: Settings) -> Result<Tokenizer> {
    let bad = |e: tokenizers::Error| Error::Data(format!("tokenizer: {e}"));
    let add_prefix_space = settings.flag("add_prefix_space", true);
    let scheme = match (add_prefix_space, settings.flag("legacy", false)) {
        (false, _) => PrependScheme::Never,
        (true, true) => PrependScheme::Always,
        (true, false) => PrependScheme::First,
    };
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    let mut decoders: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(bad)?.into(), ByteFallback::default().into(), Fuse::default().into()];
    if add_prefix_space {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Sequence::new(decoders)));
    for (key, token) in [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")] {
        settings.default_token(key, Some(token));
    }
    settings.add_tokens(&mut tokenizer)?;
    bos_eos(&mut tokenizer, &settings)?;
    Ok(tokenizer)
}
