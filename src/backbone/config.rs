//! The configuration of a model: the options of a transformer, read from a `config.json` by its family.

use serde_json::{Map, Value};

use super::family::{Family, HeadOptions, Level};
use super::fields::Checked;
use super::positions::{LearnedPositions, ScorePositions};
use super::sentence_modules::SentenceModules;
use super::spec::Init;
use crate::ops::activation::Activation;
use crate::ops::attention::Span;
use crate::ops::norm::Kind;

/// A model's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub family: &'static Family,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    /// Number of groups of layers that share parameters (ALBERT); equal to `num_hidden_layers` where nothing is shared.
    pub layer_groups: usize,
    /// The longest input in tokens.
    pub max_length: usize,
    pub embedding: EmbeddingOptions,
    pub norm: NormOptions,
    pub attention: AttentionOptions,
    pub feed_forward: FeedForwardOptions,
    /// Attention options of each layer, `[num_hidden_layers]`.
    pub layers: Vec<LayerOptions>,
    pub capabilities: Capabilities,
    pub initializer: Initializer,
    /// The head of transformers' `...ForSequenceClassification`.
    pub sequence_classifier: HeadOptions,
    /// The head of transformers' `...ForTokenClassification`.
    pub token_classifier: HeadOptions,
    /// The head of transformers' language model.
    pub language_head: HeadOptions,
    /// True if the family's sequence classifier uses its pooler.
    pub has_pooler: bool,
    /// The sentence-transformers modules after the transformer, if the files beside the model define any.
    pub sentence: Option<SentenceModules>,
    /// The whole of `config.json`, for saving.
    pub raw: Map<String, Value>,
}

/// Options of the embeddings.
#[derive(Debug, Clone)]
pub struct EmbeddingOptions {
    /// Width of the embedding tables. If it differs from `hidden_size`, or `projected` is set, a linear projection
    /// follows.
    pub size: usize,
    pub projected: bool,
    pub positions: Option<LearnedPositions>,
    /// Rows of the table of segments; 0 if there is none.
    pub segments: usize,
    pub normed: bool,
    pub dropout: f64,
}

/// Norms and their place in a layer.
#[derive(Debug, Clone)]
pub struct NormOptions {
    pub kind: Kind,
    pub eps: f64,
    pub bias: bool,
    /// Pre-norm: a norm before attention, one before the feed-forward net, and one after the last layer. Else
    /// post-norm: a norm after each residual sum.
    pub before: bool,
    /// False if the first layer has no norm before its attention.
    pub first: bool,
}

/// Attention in all layers.
#[derive(Debug, Clone)]
pub struct AttentionOptions {
    pub heads: usize,
    /// Heads of keys and values (grouped-query attention); each serves `heads / key_heads` query heads.
    pub key_heads: usize,
    pub head_size: usize,
    /// Whether the projections of queries, keys and values have a bias.
    pub bias: bool,
    pub output_bias: bool,
    /// Whether queries and keys are normalised, each head separately.
    pub normed: bool,
    pub positions: ScorePositions,
    /// Dropout of the attention probabilities.
    pub dropout: f64,
    pub output_dropout: f64,
}

/// The feed-forward net of all layers.
#[derive(Debug, Clone)]
pub struct FeedForwardOptions {
    pub size: usize,
    pub activation: Activation,
    /// Gated: the activated values are multiplied by those of a second linear layer.
    pub gated: bool,
    pub bias: bool,
    /// Dropout before the last linear layer.
    pub inner_dropout: f64,
    pub dropout: f64,
}

/// The attention options of one layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerOptions {
    pub span: Span,
    /// Index of the layer's options in [`ScorePositions::Rotary`]; None if it has no rotary positions.
    pub rotary: Option<usize>,
}

/// The training objectives, and so the kinds of prediction, that a model supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Masked language modelling: hidden tokens are predicted from those around them.
    pub masked: bool,
    /// Causal language modelling: each token is predicted from those before it.
    pub causal: bool,
    /// Permutation language modelling (XLNet): tokens are predicted from any others, in any order, by a query stream.
    pub permutation: bool,
}

impl Capabilities {
    pub(super) const MASKED: Self = Self { masked: true, causal: false, permutation: false };
    pub(super) const CAUSAL: Self = Self { masked: false, causal: true, permutation: false };
    pub(super) const PERMUTATION: Self = Self { masked: false, causal: false, permutation: true };
}

/// Initialisation of weights: normal with mean 0.
#[derive(Debug, Clone, Copy)]
pub struct Initializer {
    pub std: f64,
    /// Values beyond this many standard deviations are drawn again.
    pub cutoff: Option<f64>,
    /// Standard deviation of the linear layers that end attention and the feed-forward net.
    pub output_std: f64,
}

impl Initializer {
    /// The initialisation of a weight with this standard deviation.
    pub(super) fn init(&self, std: f64) -> Init {
        self.cutoff.map_or(Init::Normal(std), |cutoff| Init::TruncatedNormal(std, cutoff))
    }

    pub(super) fn normal(std: f64) -> Self {
        Self { std, cutoff: None, output_std: std }
    }
}

fn is_in(name: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.')))
}

/// Most layers of a configuration, and so most entries of lists per layer; more is an error.
pub(super) const MAX_LAYERS: usize = 1 << 8;

/// Most values of a head, and so most entries of lists per value of a head.
pub(super) const MAX_HEAD_SIZE: usize = 1 << 16;

/// 8 billion: 32 GB in f32.
const MAX_PARAMETERS: usize = 8_000_000_000;

impl Config {
    /// Check that all sizes are within the supported limits.
    pub(super) fn check(&self) -> Checked<()> {
        let (attention, embedding) = (&self.attention, &self.embedding);
        for (what, value, most) in [
            ("tokens in the vocabulary", self.vocab_size, 1 << 24),
            ("values of a hidden state", self.hidden_size, 1 << 16),
            ("layers", self.num_hidden_layers, MAX_LAYERS),
            ("groups of layers", self.layer_groups, self.num_hidden_layers),
            ("attention heads", attention.heads, 1 << 16),
            ("heads of keys", attention.key_heads, attention.heads),
            ("values of a head", attention.head_size, MAX_HEAD_SIZE),
            ("values inside the feed-forward net", self.feed_forward.size, 1 << 18),
            ("values of an embedding", embedding.size, 1 << 16),
            ("positions", self.max_length, 1 << 24),
            ("segments", embedding.segments.max(1), 1 << 8),
        ] {
            if value == 0 || value > most {
                return Err(format!("asks for {value} {what}; expected 1 to {most}"));
            }
        }
        // The limit is far above what this machine could hold, and far below what a malformed file may claim.
        let of_attention = 2 * self.hidden_size * attention.head_size * (attention.heads + attention.key_heads);
        let maps = if self.feed_forward.gated { 3 } else { 2 };
        let per_layer = of_attention + maps * self.hidden_size * self.feed_forward.size;
        let rows = self.vocab_size + embedding.positions.map_or(0, |positions| positions.rows) + embedding.segments;
        let (of_all, of_each) =
            self.attention.positions.parameters(self.hidden_size, attention.heads * attention.head_size);
        let parameters = self.layer_groups * (per_layer + of_each) + rows * embedding.size + of_all;
        if parameters > MAX_PARAMETERS {
            return Err(format!("asks for {parameters} parameters; at most {MAX_PARAMETERS} are supported"));
        }
        if !attention.heads.is_multiple_of(attention.key_heads) {
            return Err(format!("{} heads of keys do not divide {} heads", attention.key_heads, attention.heads));
        }
        if !(0.0..=1000.0).contains(&self.initializer.std) {
            return Err(format!("initializer_range is {:e}; expected 0 to 1000", self.initializer.std));
        }
        Ok(())
    }

    /// The `model_type` by which transformers knows the model.
    pub fn model_type(&self) -> &str {
        self.raw.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The class of transformers for this model with a head, `"Model"` without one.
    pub(crate) fn class(&self, head: &str) -> String {
        let known = self.family.model_types.iter().find(|(name, _)| *name == self.model_type());
        format!("{}{head}", known.map_or("", |(_, class)| class))
    }

    /// The head that predicts for texts, for words, or for tokens.
    pub fn head(&self, level: Level) -> &HeadOptions {
        match level {
            Level::Texts => &self.sequence_classifier,
            Level::Words => &self.token_classifier,
            Level::Tokens => &self.language_head,
        }
    }

    /// True of a parameter of the pooler.
    pub(crate) fn is_pooler(&self, name: &str) -> bool {
        let pooler = self.family.names.pooler;
        !pooler.is_empty() && name.strip_prefix(pooler).is_some_and(|rest| rest.starts_with('.'))
    }

    /// True of a parameter of the dense layers after the pooling, which only sentence vectors use.
    pub(crate) fn is_of_sentence(&self, name: &str) -> bool {
        let mut dense = self.sentence.iter().flat_map(|modules| &modules.dense);
        dense.any(|dense| name.strip_prefix(&dense.name()).is_some_and(|rest| rest.starts_with('.')))
    }

    /// True of a parameter that only passes with tokens to predict use (XLNet's mask embedding).
    pub(crate) fn is_of_predictions(&self, name: &str) -> bool {
        name == self.family.names.mask_embedding
    }

    /// True of a tensor of the last layer of a head that was trained for a task.
    pub(super) fn is_of_task(&self, name: &str) -> bool {
        is_in(name, self.family.names.task_heads) || is_in(name, &[HeadOptions::ON_SENTENCE])
    }

    /// True of any tensor of a head that was trained for a task.
    pub(super) fn is_of_head(&self, name: &str) -> bool {
        self.is_of_task(name) || is_in(name, self.family.names.before_heads)
    }

    /// True of a tensor of a checkpoint that does not belong to the backbone: part of a head, or a buffer.
    pub(crate) fn is_left_out(&self, name: &str) -> bool {
        self.is_pooler(name)
            || self.is_of_head(name)
            || is_in(name, self.family.names.pretraining_heads)
            || self.family.names.buffers.iter().any(|end| name.ends_with(end))
    }

    /// True if the hidden states depend on the segment of a token.
    pub fn takes_segments(&self) -> bool {
        self.embedding.segments > 1 || matches!(self.attention.positions, ScorePositions::TransformerXl { .. })
    }

    /// True if it can generate text from left to right.
    pub fn generates(&self) -> bool {
        self.capabilities.causal && self.attention.positions.fit_a_cache()
    }

    /// True if a token attends only to itself and those before it.
    pub fn is_causal(&self) -> bool {
        self.layers.iter().all(|layer| layer.span.after == 0)
    }
}
