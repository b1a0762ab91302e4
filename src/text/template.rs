//! Post-processor templates, which add special tokens around one text or a pair.

use tokenizers::Tokenizer;
use tokenizers::processors::template::TemplateProcessing;

use super::settings::Settings;
use crate::error::{Error, Result};

/// Sets a template in the notation of transformers, `[CLS]:0 $A:0 [SEP]:0`, with keys of special tokens in place of
/// their texts.
pub(super) fn template(tokenizer: &mut Tokenizer, settings: &Settings, single: &str, pair: &str) -> Result<()> {
    let mut tokens = Vec::new();
    let mut pieces = |pattern: &str| -> Result<Vec<String>> {
        pattern
            .split_whitespace()
            .map(|piece| match piece.split_once(':') {
                Some((key, segment)) if !key.starts_with('$') => {
                    let (token, id) = settings.with_id(tokenizer, key)?;
                    let piece = format!("{token}:{segment}");
                    tokens.push((token, id));
                    Ok(piece)
                }
                _ => Ok(piece.to_string()),
            })
            .collect()
    };
    let (single, pair) = (pieces(single)?, pieces(pair)?);
    tokens.sort();
    tokens.dedup();
    let bad = |e: String| Error::Data(format!("special tokens: {e}"));
    let mut builder = TemplateProcessing::builder();
    builder.try_single(single).map_err(bad)?.try_pair(pair).map_err(bad)?.special_tokens(tokens);
    let processing = builder.build().map_err(|e| Error::Data(format!("special tokens: {e}")))?;
    tokenizer.with_post_processor(Some(processing));
    Ok(())
}

/// Sets the template of decoders, with a bos and an eos token if the settings ask for them. `bos` is the default of
/// `add_bos_token`; that of `add_eos_token` is false.
pub(super) fn bos_eos(tokenizer: &mut Tokenizer, settings: &Settings, bos: bool) -> Result<()> {
    let around = |sequence: &str, segment: u8| {
        let shown = |flag: &str, key: &str, default: bool| {
            // Null means false here, as in transformers 4.57.
            let is_shown = settings.value(flag).map_or(default, |said| said == true);
            if is_shown && settings.token(key).is_some() { format!(" {key}:{segment} ") } else { String::new() }
        };
        let (bos, eos) = (shown("add_bos_token", "bos_token", bos), shown("add_eos_token", "eos_token", false));
        format!("{bos}{sequence}:{segment}{eos}")
    };
    let single = around("$A", 0);
    template(tokenizer, settings, &single, &format!("{single} {}", around("$B", 1)))
}
