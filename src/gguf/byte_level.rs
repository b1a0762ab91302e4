//! Byte-level BPE: `tokenizer.ggml.model` gpt2. `tokenizer.ggml.pre` says how the text is split before.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::header::Checked;
use super::tokenizer::Vocabulary;

// As in the models' own tokenizer.json.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The tokenizer, and whether it begins a text with a token of its own where the file does not say.
pub(super) fn build(vocabulary: &Vocabulary, architecture: &str) -> Checked<(Tokenizer, bool)> {
    let pre = match vocabulary.metadata.text("tokenizer.ggml.pre")? {
        Some(pre) => pre,
        None if architecture == "gpt2" => "gpt-2",
        None => {
            return Err(
                "has no tokenizer.ggml.pre: an old converter left out how text is split; convert it anew".into()
            );
        }
    };
    let merges = vocabulary.metadata.texts("tokenizer.ggml.merges", vocabulary.file)?;
    let merges = merges.ok_or("has no tokenizer.ggml.merges")?;
    let merges = merges.iter().map(|merge| {
        // A token may begin with a space where the spaces of a merge are not spelled in the byte alphabet.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let (left, right) =
            merge.split_at(at.ok_or_else(|| format!("tokenizer.ggml.merges has {merge:?}; expected two tokens"))?);
        Ok((left.to_string(), right[1..].to_string()))
    });
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.ids()?, merges.collect::<Checked<Vec<_>>>()?)
        .ignore_merges(pre == "llama-bpe")
        .build()
        .map_err(|e| format!("tokenizer.ggml.merges: {e}"))?;
    let failed = |e: tokenizers::Error| format!("tokenizer: {e}");
    let bytes = |use_regex| ByteLevel::new(false, true, use_regex);
    let split = |pattern: &str| -> Checked<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.into());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(Into::into).map_err(failed)
    };
    let mut tokenizer = Tokenizer::new(bpe);
    let steps: Vec<PreTokenizerWrapper> = match pre {
        "gpt-2" => vec![bytes(true).into()],
        "smollm" => vec![Digits::new(true).into(), bytes(true).into()],
        "llama-bpe" => vec![split(LLAMA3)?, bytes(false).into()],
        "qwen2" => {
            tokenizer.with_normalizer(Some(NFC)).map_err(failed)?;
            vec![split(QWEN2)?, bytes(false).into()]
        }
        other => return Err(format!("tokenizer.ggml.pre is {other:?}; supported: gpt-2, smollm, llama-bpe, qwen2")),
    };
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(bytes(true)));
    Ok((tokenizer, pre == "llama-bpe"))
}
