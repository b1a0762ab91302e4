//! Texts that go on: a causal model asked for one token after another, with keys and values kept.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::language_model::LanguageModel;
use super::sampling::Sampling;
use crate::backbone::{Cache, check_finite};
use crate::batch::PackedBatch;
use crate::compute::{in_pool, values};
use crate::error::{Error, Result};
use crate::product::Precision;
use crate::rng::{Key, Stream};
use crate::text::{Encodings, Role};

/// How to go on, and when to stop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub max_new_tokens: usize,
    pub sampling: Sampling,
    /// Texts that end one; they are not part of it.
    pub stop: Vec<String>,
    pub seed: u64,
    #[serde(default)]
    pub precision: Precision,
}

/// A text that is being written.
struct Writing {
    /// Which prompt.
    prompt: usize,
    /// Prompt and all after it.
    ids: Vec<u32>,
    n_prompt: usize,
    /// The prompt as its tokens say it. Decoders take the space before a text's first word away, so that new tokens are
    /// decoded behind it.
    begins: String,
    /// Bytes of the new text that were handed on.
    handed: usize,
}

/// Go on with `prompts`: the new text of each. `on_text` gets the number of a prompt and what is new of its text, in whole
/// characters, and may stop the work. What a prompt gives does not depend on the others. Models that are not causal, and
/// prompts as long as what the model bears, are errors.
pub fn generate(
    model: &LanguageModel,
    prompts: &[String],
    options: &Generation,
    on_text: &mut dyn FnMut(usize, &str) -> Result<()>,
) -> Result<Vec<String>> {
    let (backbone, config) = (&model.backbone, &model.backbone.config);
    options.sampling.check()?;
    if !config.is_causal() || config.attention.relative.is_some() {
        let class = config.class("Model");
        return Err(Error::Value(format!(
            "{class} does not write texts from left to right; a causal model does, as gpt2 or llama"
        )));
    }
    let encodings = backbone.tokenizer.encode(prompts, None, usize::MAX)?;
    backbone.check_ids(&encodings, |prompt| format!("prompt {prompt}"))?;
    let (most, mut texts) = (backbone.config.max_length, vec![String::new(); prompts.len()]);
    for i in 0..prompts.len() {
        let n = encodings.ids(i).len();
        if n == 0 || n >= most {
            let expected = format!("expected 1 to {}", most.saturating_sub(1));
            return Err(Error::Value(format!("prompt {i} has {n} tokens; the model bears {most} in all: {expected}")));
        }
    }
    let ends = ends(model)?;
    let network = model.network(options.precision)?;
    let cache = Arc::new(Mutex::new(Cache::new(config.num_hidden_layers, prompts.len())));
    let mut writing: Vec<Writing> = (0..prompts.len())
        .map(|prompt| {
            let ids = encodings.ids(prompt).to_vec();
            let begins = backbone.tokenizer.decode(std::slice::from_ref(&ids), true)?.concat();
            Ok(Writing { prompt, n_prompt: ids.len(), ids, begins, handed: 0 })
        })
        .collect::<Result<_>>()?;
    let mut batch = PackedBatch::collate(&encodings, (0..prompts.len()).collect());
    let key = Key::new(options.seed, Stream::Sampling);
    for step in 0..options.max_new_tokens {
        if writing.is_empty() {
            break;
        }
        let logits = in_pool(|| network.next_logits(&batch, &cache))?;
        let mut logits = values(logits.tensor())?.to_vec();
        check_finite(&logits, || model.params())?;
        let mut going = Vec::with_capacity(writing.len());
        for (i, logits) in logits.chunks_exact_mut(config.vocab_size).enumerate() {
            let text = &mut writing[i];
            let own = key.child(text.prompt as u64);
            let id = options.sampling.next(logits, &text.ids, own, step as u64)?;
            let ended = ends.contains(&id);
            if !ended {
                text.ids.push(id);
            }
            let last = ended || step + 1 == options.max_new_tokens || text.ids.len() >= most;
            let whole = backbone.tokenizer.decode(std::slice::from_ref(&text.ids), true)?.concat();
            let alone =
                || backbone.tokenizer.decode(&[text.ids[text.n_prompt..].to_vec()], true).map(|all| all.concat());
            let written = whole.strip_prefix(&text.begins).map_or_else(alone, |new| Ok(new.to_string()))?;
            let (shown, stopped) = cut(&written, &options.stop, last);
            if shown.len() > text.handed {
                on_text(text.prompt, &shown[text.handed..])?;
                text.handed = shown.len();
            } else {
                on_text(text.prompt, "")?;
            }
            if last || stopped {
                texts[text.prompt] = shown.to_string();
            } else {
                going.push(i);
            }
        }
        if going.len() < writing.len() {
            cache.lock().unwrap_or_else(PoisonError::into_inner).keep(&going);
            let mut i = 0;
            writing.retain(|_| {
                i += 1;
                going.contains(&(i - 1))
            });
        }
        batch = next_batch(&writing);
    }
    Ok(texts)
}

/// One new token of each text, at the position after those before it.
fn next_batch(writing: &[Writing]) -> PackedBatch {
    let last: Vec<(Vec<u32>, Vec<u8>)> =
        writing.iter().map(|text| (text.ids.last().copied().into_iter().collect(), vec![0])).collect();
    let batch = PackedBatch::collate(&Encodings::from_ids(&last), (0..last.len()).collect());
    PackedBatch { positions: writing.iter().map(|text| text.ids.len() as u32 - 1).collect(), ..batch }
}

/// What may be shown of a text: up to a stop text, of which no beginning is shown unless it is the `last` call, and no character
/// whose bytes are not all there. Whether it has met one.
fn cut<'a>(text: &'a str, stop: &[String], last: bool) -> (&'a str, bool) {
    if let Some(end) = stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
        return (&text[..end], true);
    }
    if last {
        return (text, false);
    }
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let begins = |at: usize| stop.iter().any(|stop| stop.starts_with(&whole[at..]));
    let end = whole.char_indices().map(|(at, _)| at).find(|&at| begins(at)).unwrap_or(whole.len());
    (&whole[..end], false)
}

/// Tokens that end a text.
fn ends(model: &LanguageModel) -> Result<Vec<u32>> {
    let backbone = &model.backbone;
    let role = backbone.token(Role::End)?;
    let named = backbone.config.raw.get("eos_token_id");
    let all = named.and_then(serde_json::Value::as_array).into_iter().flatten().chain(named);
    let ids = all.filter_map(serde_json::Value::as_u64).filter_map(|id| u32::try_from(id).ok());
    Ok(ids.chain(role).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_when_a_stop_text_is_met_or_may_begin_shows_what_is_certain() {
        let stop = ["\n\n".to_string(), "END".to_string()];
        assert_eq!(cut("one two", &stop, false), ("one two", false));
        assert_eq!(cut("one\n", &stop, false), ("one", false));
        assert_eq!(cut("one\n", &stop, true), ("one\n", false));
        assert_eq!(cut("one E", &stop, false), ("one ", false));
        assert_eq!(cut("one EN two END three\n\n", &stop, false), ("one EN two ", true));
        assert_eq!(cut("caf\u{fffd}", &stop, false), ("caf", false));
        assert_eq!(cut("caf\u{fffd}", &[], true), ("caf\u{fffd}", false));
    }
}
