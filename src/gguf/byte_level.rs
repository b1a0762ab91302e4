//! Byte-level BPE: `tokenizer.ggml.model` is gpt2. `tokenizer.ggml.pre` names the pre-tokenizer.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::pre_tokenizers::Splitting;
use super::reader::Checked;
use super::vocabulary::Vocabulary;

/// Builds the tokenizer, and returns it with the pre-tokenization that its name selects.
pub(super) fn build(vocabulary: &Vocabulary, architecture: &str) -> Checked<(Tokenizer, &'static Splitting)> {
    let pre = match vocabulary.metadata.text("tokenizer.ggml.pre")? {
        Some(pre) => pre,
        None if architecture == "gpt2" => "gpt-2",
        None => {
            return Err(
                "has no tokenizer.ggml.pre: an old converter left out how text is split; convert it anew".into()
            );
        }
    };
    let splitting = Splitting::of(pre).ok_or_else(|| {
        let names: Vec<_> = Splitting::names().collect();
        format!("tokenizer.ggml.pre is {pre:?}; supported: {}", names.join(", "))
    })?;
    let merges = vocabulary.metadata.texts("tokenizer.ggml.merges", vocabulary.file)?;
    let merges = merges.ok_or("has no tokenizer.ggml.merges")?;
    let merges = merges.iter().map(|merge| {
        // In files that do not spell spaces in the byte alphabet a token may begin with a space, so the separator is
        // searched from the second character on.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let (left, right) =
            merge.split_at(at.ok_or_else(|| format!("tokenizer.ggml.merges has {merge:?}; expected two tokens"))?);
        Ok((left.to_string(), right[1..].to_string()))
    });
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.ids()?, merges.collect::<Checked<Vec<_>>>()?)
        .ignore_merges(splitting.ignores_merges)
        .build()
        .map_err(|e| format!("tokenizer.ggml.merges: {e}"))?;
    let failed = |e: tokenizers::Error| format!("tokenizer: {e}");
    let bytes = ByteLevel::new(false, true, false);
    let split = |pattern: &&str| -> Checked<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex((*pattern).into());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(Into::into).map_err(failed)
    };
    let mut tokenizer = Tokenizer::new(bpe);
    if splitting.composes {
        tokenizer.with_normalizer(Some(NFC)).map_err(failed)?;
    }
    let steps = splitting.patterns.iter().map(split).chain([Ok(bytes.into())]);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps.collect::<Checked<_>>()?)));
    tokenizer.with_decoder(Some(bytes));
    Ok((tokenizer, splitting))
}
