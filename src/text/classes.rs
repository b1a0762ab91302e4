//! Tokenizer classes of transformers 4.57: their default special tokens, and how each class changes a `tokenizer.json`.

use super::settings::{GENERIC, Settings};
use crate::error::{Error, Result};

/// Keys and texts of special tokens, such as `("bos_token", "<s>")`.
pub(super) type Tokens = &'static [(&'static str, &'static str)];

pub(super) const BERT: Tokens = &[
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("mask_token", "[MASK]"),
];
pub(super) const GPT2: Tokens =
    &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")];
pub(super) const QWEN2: Tokens =
    &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];
/// RoBERTa, also used for XLM-RoBERTa and CamemBERT.
pub(super) const ROBERTA: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
pub(super) const XLNET: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "<sep>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<cls>"),
    ("mask_token", "<mask>"),
];
pub(super) const ALBERT: Tokens = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
pub(super) const MPNET: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "[UNK]"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
pub(super) const DEBERTA_V2: Tokens = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
pub(super) const LLAMA: Tokens = &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
const HERBERT: Tokens = &[
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const GEMMA: Tokens = &[("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];

/// How a class changes a `tokenizer.json`, apart from its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    Nothing,
    /// The normaliser follows `do_lower_case`, `strip_accents` and, if `chinese`, `tokenize_chinese_chars`.
    Bert {
        chinese: bool,
    },
    /// The post-processor follows `trim_offsets` and `add_prefix_space`.
    Roberta,
    /// The post-processor follows `add_bos_token`, whose default is `bos`, and `add_eos_token`.
    Template {
        bos: bool,
    },
}

/// Flags of a special token that is given by its text alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Named {
    /// The flags in `tokenizer.json`.
    AsInJson,
    /// The mask token strips the space before it, whatever `tokenizer.json` says; the others have their flags from
    /// there.
    StripsMask,
    /// No special token strips the spaces around it, whatever `tokenizer.json` says.
    StripsNothing,
}

/// A tokenizer class, or several that behave alike.
#[derive(Debug)]
pub(super) struct Class {
    /// Class names without "Fast"; the first one represents all.
    pub names: &'static [&'static str],
    /// Each `model_type` whose models use this class when the files name none.
    model_types: &'static [&'static str],
    pub tokens: Tokens,
    pub additional: &'static [&'static str],
    pub named: Named,
    pub rule: Rule,
    /// Whether models get segment ids (`token_type_ids`).
    pub segments: bool,
    /// Saved under a class that takes `tokenizer.json` as it stands, because transformers 5.24 would rebuild this class
    /// from the vocabulary, without its normalisation.
    pub stands: bool,
}

const PLAIN: Class = Class {
    names: &[],
    model_types: &[],
    tokens: &[],
    additional: &[],
    named: Named::AsInJson,
    rule: Rule::Nothing,
    segments: false,
    stands: false,
};

const CLASSES: &[Class] = &[
    Class {
        names: &[
            "BertTokenizer",
            "ElectraTokenizer",
            "ConvBertTokenizer",
            "FunnelTokenizer",
            "LayoutLMTokenizer",
            "LxmertTokenizer",
            "MobileBertTokenizer",
            "SqueezeBertTokenizer",
        ],
        model_types: &["bert", "electra"],
        tokens: BERT,
        rule: Rule::Bert { chinese: true },
        segments: true,
        ..PLAIN
    },
    // A BERT model with a BPE tokenizer.
    Class { names: &["HerbertTokenizer"], tokens: HERBERT, segments: true, ..PLAIN },
    Class {
        names: &["DistilBertTokenizer"],
        model_types: &["distilbert"],
        tokens: BERT,
        rule: Rule::Bert { chinese: true },
        ..PLAIN
    },
    Class { names: &["GPT2Tokenizer", "CodeGenTokenizer"], model_types: &["gpt2"], tokens: GPT2, ..PLAIN },
    Class {
        names: &["RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer", "MvpTokenizer"],
        model_types: &["roberta"],
        tokens: ROBERTA,
        named: Named::StripsMask,
        rule: Rule::Roberta,
        ..PLAIN
    },
    Class {
        names: &["Qwen2Tokenizer"],
        model_types: &["qwen2", "qwen3"],
        tokens: QWEN2,
        named: Named::StripsNothing,
        ..PLAIN
    },
    Class {
        names: &["XLNetTokenizer"],
        model_types: &["xlnet"],
        tokens: XLNET,
        additional: &["<eop>", "<eod>"],
        named: Named::StripsMask,
        segments: true,
        ..PLAIN
    },
    Class {
        names: &["AlbertTokenizer"],
        model_types: &["albert"],
        tokens: ALBERT,
        named: Named::StripsMask,
        segments: true,
        ..PLAIN
    },
    Class {
        names: &["XLMRobertaTokenizer"],
        model_types: &["xlm-roberta"],
        tokens: ROBERTA,
        named: Named::StripsMask,
        ..PLAIN
    },
    Class {
        names: &["CamembertTokenizer"],
        model_types: &["camembert"],
        tokens: ROBERTA,
        additional: &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
        named: Named::StripsMask,
        ..PLAIN
    },
    Class {
        names: &["MPNetTokenizer"],
        model_types: &["mpnet"],
        tokens: MPNET,
        named: Named::StripsMask,
        rule: Rule::Bert { chinese: false },
        ..PLAIN
    },
    Class {
        names: &["DebertaV2Tokenizer"],
        model_types: &["deberta-v2"],
        tokens: DEBERTA_V2,
        segments: true,
        stands: true,
        ..PLAIN
    },
    Class {
        names: &["LlamaTokenizer", "CodeLlamaTokenizer"],
        model_types: &["llama", "mistral"],
        tokens: LLAMA,
        rule: Rule::Template { bos: true },
        ..PLAIN
    },
    Class { names: &["GemmaTokenizer"], tokens: GEMMA, rule: Rule::Template { bos: true }, ..PLAIN },
    Class { names: &["GPTNeoXTokenizer"], tokens: GPT2, rule: Rule::Template { bos: false }, ..PLAIN },
    // Generic classes take tokenizer.json as it stands, with the additions of the files beside it.
    Class { names: &GENERIC, model_types: &["modernbert"], ..PLAIN },
];

impl Class {
    /// The class that the settings name, else that of the model type; None if neither is known.
    pub fn of(settings: &Settings) -> Result<Option<&'static Self>> {
        let Some(named) = settings.named_class() else {
            let has_type = |class: &&Self| class.model_types.iter().any(|t| Some(*t) == settings.model_type());
            return Ok(CLASSES.iter().find(has_type));
        };
        let known = CLASSES.iter().find(|class| class.names.contains(&named));
        known.map(Some).ok_or_else(|| {
            Error::Data(format!(
                "tokenizer_config.json: tokenizer_class is {named:?}, and what it would change in tokenizer.json is \
                 not known; supported: {}. Save the tokenizer with transformers as PreTrainedTokenizerFast, or name that \
                 class if tokenizer.json alone says everything.",
                CLASSES.iter().flat_map(|class| class.names).copied().collect::<Vec<_>>().join(", ")
            ))
        })
    }
}
