//! Definition of a model family: its parameter names, and how its `config.json` is read.

use super::pooling::Pooling;
use crate::ops::activation::Activation;

/// A family of models.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    /// `model_type` in `config.json`, and the prefix of transformers' class names for it.
    pub model_types: &'static [(&'static str, &'static str)],
    /// Suffix of the name of transformers' class with a language-modelling head.
    pub language_class: &'static str,
    /// Suffix of the name of the class with a replaced-token-detection head; of the class without a head if there is
    /// none.
    pub detector_class: &'static str,
    pub names: Names,
}

impl Family {
    /// Suffix of the name of transformers' class with a head of this level.
    pub fn class_of_head(&self, level: Level) -> &'static str {
        match level {
            Level::Texts => "ForSequenceClassification",
            Level::Words => "ForTokenClassification",
            Level::Tokens => self.language_class,
        }
    }
}

/// Names of parameters without `.weight` and `.bias`; empty for what a family does not have.
#[derive(Debug)]
pub struct Names {
    /// Prefix of all names in checkpoints of models with a head.
    pub prefix: &'static str,
    pub word_embeddings: &'static str,
    pub position_embeddings: &'static str,
    pub segment_embeddings: &'static str,
    pub embedding_norm: &'static str,
    pub embedding_projection: &'static str,
    /// Prefix of a layer's parameters; `{}` is the number of the layer, or of its group.
    pub layer: &'static str,
    pub query: Part,
    pub key: Part,
    pub value: Part,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub gate: Part,
    pub up: Part,
    pub down: &'static str,
    pub feed_forward_norm: &'static str,
    pub final_norm: &'static str,
    /// A dense layer on the first token's last hidden state, which transformers treats as part of the backbone.
    pub pooler: &'static str,
    /// Prefix, within a layer, of the parameters of relative attention; none of them ends with `.weight`.
    pub relative: &'static str,
    /// The table of relative distances that all layers share, and the norm of its rows.
    pub distance_table: &'static str,
    pub distance_norm: &'static str,
    /// Within a layer, the linear layers that turn the rows of the distance table into keys and into queries.
    pub distance_key: &'static str,
    pub distance_query: &'static str,
    /// The vector that stands for tokens to predict; passes without such tokens do not use it.
    pub mask_embedding: &'static str,
    /// Attention weights are stored with heads as a dimension: `[inputs, heads, head_size]`, and
    /// `[outputs, heads, head_size]` for the output projection.
    pub by_heads: bool,
    /// Weights of layers are stored as `[inputs, outputs]`.
    pub input_major: bool,
    /// Modules of transformers' task heads: their last layers, and the modules before these.
    pub task_heads: &'static [&'static str],
    pub before_heads: &'static [&'static str],
    /// Other modules that checkpoints may have beside the backbone: pretraining heads, and heads of no single task.
    pub pretraining_heads: &'static [&'static str],
    /// Suffixes of the names of buffers that checkpoints may hold.
    pub buffers: &'static [&'static str],
}

impl Names {
    /// All names empty, as a base for struct updates.
    pub(super) const NONE: Self = Self {
        prefix: "",
        word_embeddings: "",
        position_embeddings: "",
        segment_embeddings: "",
        embedding_norm: "",
        embedding_projection: "",
        layer: "",
        query: Part::whole(""),
        key: Part::whole(""),
        value: Part::whole(""),
        query_norm: "",
        key_norm: "",
        attention_output: "",
        attention_norm: "",
        gate: Part::whole(""),
        up: Part::whole(""),
        down: "",
        feed_forward_norm: "",
        final_norm: "",
        pooler: "",
        relative: "",
        distance_table: "",
        distance_norm: "",
        distance_key: "",
        distance_query: "",
        mask_embedding: "",
        by_heads: false,
        input_major: false,
        task_heads: &[],
        before_heads: &[],
        pretraining_heads: &[],
        buffers: &[],
    };
}

/// A linear layer that is a parameter by itself (`of` is 1), or number `index` of `of` layers stacked in one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub name: &'static str,
    pub index: usize,
    pub of: usize,
}

impl Part {
    pub(super) const fn whole(name: &'static str) -> Self {
        Self { name, index: 0, of: 1 }
    }

    pub(super) const fn one_of(name: &'static str, index: usize, of: usize) -> Self {
        Self { name, index, of }
    }
}

/// A head of one or two layers: `output(dropout(norm(activation(dense(dropout(x))))))`, where all but the last are
/// optional.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// Poolings of a text whose vectors, side by side, are the input of a sequence classifier's head.
    pub pooling: Vec<Pooling>,
    /// Width of the input; None if it is that of a hidden state.
    pub input_size: Option<usize>,
    pub dense: Option<Dense>,
    /// Layer norm with the backbone's settings.
    pub norm: &'static str,
    /// Name of the last layer.
    pub output: &'static str,
    /// Full name of the last layer's bias; empty if there is none.
    pub output_bias: &'static str,
    /// The last layer shares its weight with the word embeddings.
    pub tied: bool,
    pub first_dropout: f64,
    pub last_dropout: f64,
    /// Standard deviation of the last layer's initial weight.
    pub std: f64,
}

/// The unit that a head predicts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Texts, or pairs of texts.
    #[default]
    Texts,
    /// The words of texts.
    Words,
    /// The tokens of texts.
    Tokens,
}

impl Level {
    /// Default name of a head of this level.
    pub fn name(self) -> &'static str {
        match self {
            Self::Texts => "texts",
            Self::Words => "words",
            Self::Tokens => "tokens",
        }
    }
}

/// The first layer of a head.
#[derive(Debug, Clone)]
pub struct Dense {
    pub name: &'static str,
    pub size: usize,
    pub activation: Activation,
    pub bias: bool,
}

impl HeadOptions {
    /// Name of the last layer of a head on sentence vectors.
    pub(super) const ON_SENTENCE: &'static str = "sentence_classifier";

    /// True if its input is sentence vectors, not hidden states.
    pub(crate) fn is_on_sentence(&self) -> bool {
        self.output == Self::ON_SENTENCE
    }

    /// The token-classification head of most families: dropout, and a last layer named `classifier`.
    pub(super) fn token_classifier(dropout: f64, std: f64) -> Self {
        Self { last_dropout: dropout, ..Self::linear(Pooling::Words, "classifier", "classifier.bias", std) }
    }

    /// The name of the last layer's bias where transformers has two parameters for it: `head`, the head's own, if
    /// weights are tied, because the biases are then tied too; else `map`, the layer's.
    pub(super) fn bias_of(&self, head: &'static str, map: &'static str) -> &'static str {
        if self.tied { head } else { map }
    }

    /// A last layer alone, with a bias if `output_bias` is not empty.
    pub(super) fn linear(pooling: Pooling, output: &'static str, output_bias: &'static str, std: f64) -> Self {
        Self {
            pooling: vec![pooling],
            input_size: None,
            dense: None,
            norm: "",
            output,
            output_bias,
            tied: false,
            first_dropout: 0.0,
            last_dropout: 0.0,
            std,
        }
    }
}
