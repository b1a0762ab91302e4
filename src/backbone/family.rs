//! What distinguishes a family: its names of parameters, and how its `config.json` is read.

use super::pooling::Pooling;
use crate::ops::activation::Activation;

/// A family of models.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    /// `model_type` in `config.json`, and what the names of transformers' classes begin with.
    pub model_types: &'static [(&'static str, &'static str)],
    /// What the name of the class with a language-modelling head ends with.
    pub language_class: &'static str,
    /// The same of the class with a head that detects replaced tokens; the class without a head where there is none.
    pub detector_class: &'static str,
    pub names: Names,
}

impl Family {
    /// What the name of transformers' class with a head ends with that says something of texts, of words, or of tokens.
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
    /// Before all others in checkpoints of models with a head.
    pub prefix: &'static str,
    pub word_embeddings: &'static str,
    pub position_embeddings: &'static str,
    pub segment_embeddings: &'static str,
    pub embedding_norm: &'static str,
    pub embedding_projection: &'static str,
    /// Of a layer, before the names that follow; `{}` is its number, or that of its group.
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
    /// A dense layer over the first token's last hidden state, which transformers counts to the backbone.
    pub pooler: &'static str,
    /// Of a layer, before the names of what attention with relative positions has; none of its parameters ends with `.weight`.
    pub relative: &'static str,
    /// The table of distances that all layers share, and the norm of its rows.
    pub distance_table: &'static str,
    pub distance_norm: &'static str,
    /// Of a layer, the maps of its rows to what queries meet and to what keys meet.
    pub distance_key: &'static str,
    pub distance_query: &'static str,
    /// A vector that stands for tokens to predict, which passes without any do not use.
    pub mask_embedding: &'static str,
    /// Weights of attention are stored with heads as a dimension: `[inputs, heads, head_size]` and, of the output,
    /// `[outputs, heads, head_size]`.
    pub by_heads: bool,
    /// Weights of layers are stored `[inputs, outputs]`.
    pub input_major: bool,
    /// Modules of transformers' heads for tasks: their last maps, and what stands before these.
    pub task_heads: &'static [&'static str],
    pub before_heads: &'static [&'static str],
    /// Modules of pretraining that its checkpoints may have beside the backbone, and of heads that are no task's alone.
    pub pretraining_heads: &'static [&'static str],
    /// Buffers that checkpoints may hold, by the end of their names.
    pub buffers: &'static [&'static str],
}

impl Names {
    /// No name at all, to begin from.
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

/// A map that is a parameter by itself, or one of several that lie in a parameter one after another.
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

/// A head of one or two layers: `output(dropout(norm(activation(dense(dropout(x))))))`, each but the last perhaps absent.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// Which vectors of a text the head of a classifier takes, side by side.
    pub pooling: Vec<Pooling>,
    /// Values of each input; None if they are those of a hidden state.
    pub input_size: Option<usize>,
    pub dense: Option<Dense>,
    /// Layer norm with the backbone's settings.
    pub norm: &'static str,
    /// The name of the last map.
    pub output: &'static str,
    /// The name of its bias, in full; empty if there is none.
    pub output_bias: &'static str,
    /// The weight of the last map is that of the word embeddings.
    pub tied: bool,
    pub first_dropout: f64,
    pub last_dropout: f64,
    /// Of the last map's weight, at the beginning.
    pub std: f64,
}

/// What a head says something of.
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
    /// What a head is called after it.
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
    /// The last map of a head on sentence vectors.
    pub(super) const ON_SENTENCE: &'static str = "sentence_classifier";

    /// True if it takes sentence vectors, not hidden states.
    pub(crate) fn is_on_sentence(&self) -> bool {
        self.output == Self::ON_SENTENCE
    }

    /// The head of words of most families: dropout, and a last map named `classifier`.
    pub(super) fn of_words(dropout: f64, std: f64) -> Self {
        Self { last_dropout: dropout, ..Self::linear(Pooling::Words, "classifier", "classifier.bias", std) }
    }

    /// The name of the last map's bias where transformers has two parameters for it: that of the head if they are tied as the
    /// weights are, else the map's own.
    pub(super) fn bias_of(&self, head: &'static str, map: &'static str) -> &'static str {
        if self.tied { head } else { map }
    }

    /// A last map alone, with a bias if it is named.
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
