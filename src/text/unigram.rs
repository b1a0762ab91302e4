//! Tokenizers with a unigram model: XLNet, ALBERT, XLM-RoBERTa, CamemBERT, DeBERTa.
//!
//! DeBERTa's tokenizer is that of transformers 4.57, which applies the file's compiled normalisation, as the models
//! were trained; 5.24 omits it and so gives other tokens for full-width letters, fractions and the like.

use tokenizers::Tokenizer;
use tokenizers::models::unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{
    Lowercase, NFKD, NormalizerWrapper, Precompiled, Replace, Sequence, Strip, StripAccents,
};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as Splits;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use super::classes;
use super::settings::Settings;
use super::template::template;
use crate::error::{Error, Result};

/// Limit on the nodes of the model's prefix tree of pieces, 350 bytes each.
const MAX_NODES: usize = 2_000_000;

/// Pieces with their log probabilities; the index of a piece is its id.
pub(super) struct Unigram {
    pub pieces: Vec<(String, f64)>,
    pub unk_id: usize,
}

/// Model family of a unigram tokenizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Family {
    XlNet,
    Albert,
    XlmRoberta,
    Camembert,
    DebertaV2,
}

impl Family {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::XlNet, "XLNetTokenizer", "xlnet"),
        (Self::Albert, "AlbertTokenizer", "albert"),
        (Self::XlmRoberta, "XLMRobertaTokenizer", "xlm-roberta"),
        (Self::Camembert, "CamembertTokenizer", "camembert"),
        (Self::DebertaV2, "DebertaV2Tokenizer", "deberta-v2"),
    ];

    /// The family that the settings name.
    pub fn of(settings: &Settings) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, class, model_type)| match settings.class() {
            Some(named) => named == *class,
            None => settings.model_type() == Some(*model_type),
        });
        found.map(|(family, ..)| *family).ok_or_else(|| {
            Error::Data(format!(
                "tokenizer_class is {}, model_type {}; supported: LlamaTokenizer, {}. Convert others to tokenizer.json \
                 with transformers.",
                settings.class().map_or("not given".to_string(), |class| format!("{class:?}")),
                settings.model_type().unwrap_or("not given"),
                Self::ALL.map(|(_, class, _)| class).join(", ")
            ))
        })
    }

    /// Class name in transformers.
    pub fn class(self) -> &'static str {
        Self::ALL.iter().find(|(family, ..)| *family == self).map_or("", |(_, class, _)| class)
    }

    /// Default special tokens, used where the files name none.
    fn defaults(self) -> classes::Tokens {
        match self {
            Self::XlNet => classes::XLNET,
            Self::Albert => classes::ALBERT,
            Self::XlmRoberta | Self::Camembert => classes::ROBERTA,
            Self::DebertaV2 => classes::DEBERTA_V2,
        }
    }

    /// Converts SentencePiece ids to the models' ids: models from fairseq put special tokens first and the mask token
    /// last.
    pub fn renumber(self, model: Unigram, settings: &Settings) -> Unigram {
        let defaults = self.defaults();
        let token = |key: &str| {
            let default = defaults.iter().find(|(k, _)| *k == key).map_or("", |(_, token)| *token);
            settings.token(key).unwrap_or(default).to_string()
        };
        let (first, skipped) = match self {
            Self::XlNet | Self::DebertaV2 => return model,
            Self::Albert => return Unigram { unk_id: 1, ..model },
            Self::XlmRoberta => (
                vec![
                    (token("bos_token"), 0.0),
                    (token("pad_token"), 0.0),
                    (token("eos_token"), 0.0),
                    (token("unk_token"), 0.0),
                ],
                3,
            ),
            Self::Camembert => (
                vec![
                    ("<s>NOTUSED".into(), 0.0),
                    (token("pad_token"), 0.0),
                    ("</s>NOTUSED".into(), 0.0),
                    (token("unk_token"), 0.0),
                    ("<unk>NOTUSED".into(), -100.0),
                ],
                1,
            ),
        };
        let mask = (token("mask_token"), 0.0);
        let pieces = first.into_iter().chain(model.pieces.into_iter().skip(skipped)).chain([mask]).collect();
        Unigram { pieces, unk_id: 3 }
    }
}

/// Adds the family's other components to the model.
pub(super) fn assemble(
    model: Unigram,
    normalization: Option<Precompiled>,
    family: Family,
    mut settings: Settings,
) -> Result<Tokenizer> {
    let bad = |e: tokenizers::Error| Error::Data(format!("tokenizer: {e}"));
    if nodes(&model.pieces) > MAX_NODES {
        return Err(Error::Data("its pieces are longer and more unlike than those of any real model".into()));
    }
    let model = unigram::Unigram::from(model.pieces, Some(model.unk_id), false).map_err(bad)?;
    let mut tokenizer = Tokenizer::new(model);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if matches!(family, Family::XlNet | Family::Albert) {
        for quotes in ["``", "''"] {
            normalizers.push(Replace::new(quotes, "\"").map_err(bad)?.into());
        }
        // transformers' XLNet strips accents whatever keep_accents says.
        if family == Family::XlNet || !settings.flag("keep_accents", false) {
            normalizers.push(NFKD.into());
            normalizers.push(StripAccents.into());
        }
        if settings.flag("do_lower_case", family == Family::Albert) {
            normalizers.push(Lowercase.into());
        }
    }
    if family == Family::DebertaV2 {
        if settings.flag("do_lower_case", false) {
            normalizers.push(Lowercase.into());
        }
        normalizers.push(Strip::new(true, true).into());
    }
    normalizers.extend(normalization.map(NormalizerWrapper::from));
    if family == Family::DebertaV2 {
        normalizers.push(Replace::new(ReplacePattern::Regex(" {2,}".into()), " ").map_err(bad)?.into());
    }
    if !normalizers.is_empty() {
        tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(bad)?;
    }
    let always = matches!(family, Family::XlNet | Family::DebertaV2);
    let scheme =
        if always || settings.flag("add_prefix_space", true) { PrependScheme::Always } else { PrependScheme::Never };
    let spaces = Metaspace::new('▁', scheme, true);
    let splits = match family {
        Family::DebertaV2 if !settings.flag("split_by_punct", false) => Vec::new(),
        Family::DebertaV2 => vec![Punctuation::default().into()],
        _ => vec![WhitespaceSplit.into()],
    };
    tokenizer.with_pre_tokenizer(Some(Splits::new([splits, vec![spaces.clone().into()]].concat())));
    tokenizer.with_decoder(Some(spaces));
    for (key, token) in family.defaults() {
        settings.default_token(key, Some(token));
    }
    if matches!(family, Family::XlNet | Family::Camembert) {
        settings.default_left_strip("mask_token");
    }
    settings.add_tokens(&mut tokenizer)?;
    let (single, pair) = match family {
        Family::XlNet => ("$A:0 sep_token:0 cls_token:2", "$A:0 sep_token:0 $B:1 sep_token:1 cls_token:2"),
        Family::Albert | Family::DebertaV2 => {
            ("cls_token:0 $A:0 sep_token:0", "cls_token:0 $A:0 sep_token:0 $B:1 sep_token:1")
        }
        Family::XlmRoberta | Family::Camembert => {
            ("bos_token:0 $A:0 eos_token:0", "bos_token:0 $A:0 eos_token:0 eos_token:0 $B:0 eos_token:0")
        }
    };
    template(&mut tokenizer, &settings, single, pair)?;
    Ok(tokenizer)
}

/// Number of distinct prefixes of the pieces.
fn nodes(pieces: &[(String, f64)]) -> usize {
    let mut sorted: Vec<&[u8]> = pieces.iter().map(|(text, _)| text.as_bytes()).collect();
    sorted.sort_unstable();
    let mut previous: &[u8] = &[];
    let mut nodes = 0;
    for piece in sorted {
        nodes += piece.len() - piece.iter().zip(previous).take_while(|(a, b)| a == b).count();
        previous = piece;
    }
    nodes
}
