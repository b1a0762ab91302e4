//! Text generation: a causal model predicts one token after another, with a cache of keys and values.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use super::language_model::LanguageModel;
use super::sampling::Sampling;
use super::writing::Writing;
use crate::backbone::{Cache, check_finite};
use crate::batch::PackedBatch;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::rng::{Key, Stream};
use crate::text::{Encodings, GENERATION_CONFIG, Role};

/// Options of generation: sampling, and when to stop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Maximum number of new tokens; none: as many as fit into the context.
    pub max_new_tokens: Option<usize>,
    /// Maximum number of tokens of prompt and new text together, if less than the model supports.
    pub max_length: Option<usize>,
    pub sampling: Sampling,
    /// Stop strings; they are not part of the generated text.
    pub stop: Vec<String>,
    pub seed: u64,
    #[serde(default)]
    pub precision: Precision,
}

/// Generate a continuation of each prompt. `on_text` gets the index of a prompt and the newly generated piece of its
/// text, in whole characters, and may stop the work. The text of a prompt does not depend on the other prompts. A model
/// that is not causal is an error, as is a prompt that fills the model's maximum length.
pub fn generate(
    model: &LanguageModel,
    prompts: &[String],
    options: &Generation,
    on_text: &mut dyn FnMut(usize, &str) -> Result<()>,
) -> Result<Vec<String>> {
    let (backbone, config) = (&model.backbone, &model.backbone.config);
    options.sampling.check()?;
    if !config.generates() {
        let class = config.class("Model");
        return Err(Error::Value(format!(
            "{class} does not write texts from left to right; a causal model does, as gpt2 or llama"
        )));
    }
    let encodings = backbone.tokenizer.encode(prompts, None, usize::MAX)?;
    backbone.check_ids(&encodings, |prompt| format!("prompt {prompt}"))?;
    let supported = backbone.config.max_length;
    let (most, mut texts) =
        (options.max_length.unwrap_or(supported).min(supported), vec![String::new(); prompts.len()]);
    for i in 0..prompts.len() {
        let n = encodings.ids(i).len();
        if n == 0 || n >= most {
            let limit = if most < supported { "max_length is" } else { "the model supports" };
            let expected = format!("expected 1 to {}", most.saturating_sub(1));
            return Err(Error::Value(format!("prompt {i} has {n} tokens; {limit} {most} in all: {expected}")));
        }
    }
    let ends = ends(model)?;
    let network = model.network(options.precision)?;
    let cache = Arc::new(Mutex::new(Cache::new(config.num_hidden_layers, prompts.len())));
    let mut writing: Vec<Writing> = (0..prompts.len())
        .map(|prompt| Writing::new(prompt, encodings.ids(prompt).to_vec(), &backbone.tokenizer))
        .collect::<Result<_>>()?;
    let mut batch = PackedBatch::collate(&encodings, (0..prompts.len()).collect());
    let key = Key::new(options.seed, Stream::Sampling);
    let steps = options.max_new_tokens.unwrap_or(most);
    for step in 0..steps {
        if writing.is_empty() {
            break;
        }
        let logits = in_pool(|| network.next_logits(&batch, &cache))?;
        let mut logits = logits.array().values()?.to_vec();
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
            let last = ended || step + 1 == steps || text.ids.len() >= most;
            text.read(&backbone.tokenizer, last)?;
            let prompt = text.prompt;
            let (piece, stopped) = text.hand_on(&options.stop, last);
            on_text(prompt, piece)?;
            if last || stopped {
                texts[prompt] = text.handed().to_string();
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

/// A batch with the newest token of each text, at the position after those before it.
fn next_batch(writing: &[Writing]) -> PackedBatch {
    let last: Vec<(Vec<u32>, Vec<u8>)> =
        writing.iter().map(|text| (text.ids.last().copied().into_iter().collect(), vec![0])).collect();
    let batch = PackedBatch::collate(&Encodings::from_ids(&last), (0..last.len()).collect());
    PackedBatch { positions: writing.iter().map(|text| text.ids.len() as u32 - 1).collect(), ..batch }
}

/// Ids of the tokens that end a text (`eos_token_id`): those of `generation_config.json`, else those of `config.json`
/// and the tokenizer's own.
fn ends(model: &LanguageModel) -> Result<Vec<u32>> {
    let backbone = &model.backbone;
    let of = |file: &str, value: Option<&Value>| -> Result<Option<Vec<u32>>> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
        let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let ids: Option<Vec<i64>> = all.iter().map(Value::as_i64).collect();
        let ids = ids.ok_or_else(|| {
            Error::Data(format!("{file}: eos_token_id is {value}; expected the id of a token, or a list of them"))
        })?;
        let rows = backbone.config.vocab_size;
        // Some files use -1 for none.
        let id = |id: i64| match u32::try_from(id) {
            Ok(id) if (id as usize) < rows => Ok(id),
            _ => Err(Error::Data(format!(
                "{file}: eos_token_id has {id}, the model has vocab_size {rows}: no such token; give the id of one it has"
            ))),
        };
        ids.into_iter().filter(|id| *id >= 0).map(id).collect::<Result<_>>().map(Some)
    };
    let generation = backbone.side_files.json(GENERATION_CONFIG)?;
    if let Some(named) = of(GENERATION_CONFIG, generation.as_ref().and_then(|config| config.get("eos_token_id")))? {
        return Ok(named);
    }
    let role = backbone.token(Role::End)?;
    let named = of("config.json", backbone.config.raw.get("eos_token_id"))?;
    Ok(named.into_iter().flatten().chain(role).collect())
}
