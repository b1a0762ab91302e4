//! SentencePiece BPE: `tokenizer.ggml.model` is llama. Each piece has a score; of all adjacent pairs, the one whose
//! merged piece has the best score is merged.

use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};

use super::reader::Checked;
use super::vocabulary::Vocabulary;

/// Limit on the mean number of merges per piece: SentencePiece trains about two. A file with more is made to exhaust
/// memory.
const MERGES_PER_PIECE: usize = 8;
/// Limit in bytes on pieces that are merged from others: SentencePiece's own have at most 16 characters, runs of spaces
/// more.
const LONGEST: usize = 512;

/// Builds the tokenizer.
pub(super) fn build(vocabulary: &Vocabulary) -> Checked<Tokenizer> {
    let scores = vocabulary.numbers("tokenizer.ggml.scores")?.ok_or("has no tokenizer.ggml.scores")?;
    let ids = vocabulary.ids()?;
    let merges = merges(vocabulary, &ids, &scores)?;
    let has_bytes = (0..=255).all(|byte| ids.contains_key(&format!("<0x{byte:02X}>")));
    let mut builder = BPE::builder().vocab_and_merges(ids, merges).byte_fallback(has_bytes).fuse_unk(true);
    if let Some((unknown, _)) = vocabulary.special("unknown")? {
        builder = builder.unk_token(unknown.to_string());
    }
    let failed = |e: tokenizers::Error| format!("tokenizer: {e}");
    let mut tokenizer = Tokenizer::new(builder.build().map_err(|e| format!("tokenizer: {e}"))?);

    let add_prefix = vocabulary.metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(failed)?.into(), ByteFallback::default().into(), Fuse::new().into()];
    if add_prefix {
        normalizers.push(Prepend::new("▁".into()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(Replace::new(" ", "▁").map_err(failed)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(failed)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// All ways to split each piece into two pieces of the vocabulary: best score first, and for the same piece the longest
/// left part first.
fn merges(vocabulary: &Vocabulary, ids: &Vocab, scores: &[f64]) -> Checked<Vec<(String, String)>> {
    let most = MERGES_PER_PIECE * vocabulary.tokens.len();
    let mut merges: Vec<(f64, u32, u32)> = Vec::new();
    for (piece, &score) in vocabulary.tokens.iter().zip(scores).filter(|(piece, _)| piece.len() <= LONGEST) {
        for (at, _) in piece.char_indices().rev().take_while(|(at, _)| *at > 0) {
            let (left, right) = piece.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                merges.push((score, left, right));
            }
        }
        if merges.len() > most {
            return Err(format!(
                "has more than {most} merges for {} pieces; not what SentencePiece makes",
                vocabulary.tokens.len()
            ));
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    let text = |id: u32| vocabulary.tokens.get(id as usize).map_or_else(String::new, |token| (*token).to_string());
    Ok(merges.into_iter().map(|(_, left, right)| (text(left), text(right))).collect())
}
