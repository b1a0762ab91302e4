//! WordPiece from `vocab.txt`: BERT, DistilBERT, ELECTRA, MPNet.
//!
//! Components and defaults are those of `BertTokenizerFast` (transformers 5): clean text, split Chinese characters,
//! lower-case with accents stripped unless the configuration says otherwise, `[CLS] a [SEP] b [SEP]`.

use tokenizers::Tokenizer;
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;

use super::classes::{BERT, MPNET, Tokens};
use super::settings::Settings;
use crate::error::{Error, Result};

/// Build the tokenizer from the contents of `vocab.txt`.
pub(crate) fn build(vocab: &[u8], mut settings: Settings) -> Result<Tokenizer> {
    match settings.class() {
        None | Some("BertTokenizer" | "DistilBertTokenizer" | "ElectraTokenizer" | "MPNetTokenizer") => {}
        Some(class) => {
            return Err(Error::Data(format!(
                "vocab.txt: tokenizer_class is {class:?}; supported: BertTokenizer, DistilBertTokenizer, \
                 ElectraTokenizer, MPNetTokenizer. Convert others to tokenizer.json with transformers."
            )));
        }
    }
    let text = std::str::from_utf8(vocab).map_err(|e| Error::Data(format!("vocab.txt: not UTF-8: {e}")))?;
    let tokens: Vec<&str> = text.lines().map(str::trim_end).collect();
    for &(key, default) in defaults(&settings) {
        settings.default_token(key, Some(default));
    }
    for key in ["unk_token", "cls_token", "sep_token"] {
        let token = settings.required(key)?;
        if !tokens.contains(&token) {
            let n = tokens.len();
            return Err(Error::Data(format!("vocab.txt: {key} {token:?} is not among its {n} tokens")));
        }
    }
    // Classification needs neither token, so the vocabulary may lack them.
    for key in ["pad_token", "mask_token"] {
        if settings.token(key).is_some_and(|token| !tokens.contains(&token)) {
            settings.remove_token(key);
        }
    }
    let bad = |e: tokenizers::Error| Error::Data(format!("vocab.txt: {e}"));
    let ids = WordPiece::read_bytes(vocab).map_err(bad)?;
    let model = WordPiece::builder().vocab(ids).unk_token(settings.required("unk_token")?.into());
    assemble(model.build().map_err(bad)?, settings)
}

/// Adds the other components to the model.
pub(super) fn assemble(model: WordPiece, mut settings: Settings) -> Result<Tokenizer> {
    for &(key, default) in defaults(&settings) {
        settings.default_token(key, Some(default));
    }
    if is_mpnet(&settings) {
        settings.default_left_strip("mask_token");
    }
    let mut tokenizer = Tokenizer::new(model);
    let normalizer = BertNormalizer::new(
        true,
        settings.flag("tokenize_chinese_chars", true),
        settings.option("strip_accents"),
        settings.flag("do_lower_case", true),
    );
    tokenizer.with_normalizer(Some(normalizer)).map_err(|e| Error::Data(format!("tokenizer: {e}")))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(Decoder::new("##".into(), true)));
    settings.add_tokens(&mut tokenizer)?;
    let (sep, cls) = (settings.with_id(&tokenizer, "sep_token")?, settings.with_id(&tokenizer, "cls_token")?);
    if is_mpnet(&settings) {
        tokenizer.with_post_processor(Some(RobertaProcessing::new(sep, cls).add_prefix_space(false)));
    } else {
        tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    }
    Ok(tokenizer)
}

/// Whether this is MPNet's tokenizer, which adds special tokens around texts as RoBERTa does.
fn is_mpnet(settings: &Settings) -> bool {
    settings.class().map_or(settings.model_type() == Some("mpnet"), |class| class == "MPNetTokenizer")
}

fn defaults(settings: &Settings) -> Tokens {
    if is_mpnet(settings) { MPNET } else { BERT }
}
