//! A backbone with a language-modelling head, which gives a logit for each token of the vocabulary.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::language_head::LanguageHead;
use super::layers::HeadLayers;
use super::saving;
use super::targets::{Targets, Truth};
use super::task::{Head, Task};
use crate::array::Array;
use crate::autograd::Var;
use crate::backbone::{
    Backbone, Cache, Cached, Config, Context, Memory, Mode, Parameters, Remember, Spec, Transformer, check_finite,
    same_values,
};
use crate::batch::PackedBatch;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::ops::embedding::embedding;
use crate::ops::vocabulary_loss::token_losses;
use crate::rng::{Key, Stream};

/// A backbone and the parameters of its language-modelling head; tied weights belong to the backbone. Cloning shares
/// everything.
#[derive(Clone)]
pub struct LanguageModel {
    pub backbone: Backbone,
    pub head: Parameters,
    network: Cached<LanguageNetwork>,
}

/// A batch of sequences with its labels.
pub struct LanguageBatch {
    pub packed: PackedBatch,
    pub context: Context,
    /// Rows of the hidden states to predict from; none: all rows.
    pub rows: Option<Arc<[u32]>>,
    /// Token label of each of these rows; none: the row has no loss.
    pub labels: Vec<Option<u32>>,
    /// Which hidden states to keep as memory for the next batch.
    pub remember: Option<Remember>,
}

impl LanguageBatch {
    /// Number of labelled tokens.
    pub fn n_asked(&self) -> usize {
        self.labels.iter().flatten().count()
    }
}

/// Result of a training pass over a batch.
pub struct LanguageLoss {
    /// Summed loss of the labelled rows, divided by the normalizer.
    pub loss: Var,
    /// Input of the head's output layer, `[rows, D]`.
    pub(super) answers: Array,
    /// Hidden states to carry to the next batch, if the batch asked for them.
    pub memory: Option<Memory>,
}

impl LanguageModel {
    /// Name of the head's task.
    pub const TASK: &str = "language";

    /// A model of a backbone and the head's own parameters.
    pub fn of(backbone: Backbone, head: Parameters) -> Self {
        Self { backbone, head, network: Cached::default() }
    }

    /// Read a Hugging Face directory or GGUF file of a model with a language-modelling head. If the checkpoint lacks
    /// the head, it is an error.
    pub fn from_pretrained(path: &Path) -> Result<Self> {
        let (backbone, head) =
            Backbone::from_pretrained_with(path, |config| Ok(Self::head_specs(config))).map_err(|e| match e {
                Error::Weights(message) => Error::Weights(format!(
                    "{message} For a checkpoint without a language model's head, \
                 LanguageModel(Backbone.from_pretrained(path)) begins a new one."
                )),
                other => other,
            })?;
        Ok(Self::of(backbone, head))
    }

    /// A backbone with a newly initialised head, except for weights shared with the backbone.
    pub fn new(backbone: &Backbone, seed: u64) -> Result<Self> {
        let specs = Self::head_specs(&backbone.config);
        Ok(Self::of(backbone.clone(), Parameters::initialised(&specs, Key::new(seed, Stream::Init))?))
    }

    /// The same model with other values of its parameters.
    #[must_use]
    pub fn with_params(&self, all: &Parameters) -> Self {
        let (own, head) = all.split_heads();
        Self::of(self.backbone.with_params(own, self.backbone.report.trained()), head)
    }

    /// Specs of the head's parameters that the backbone does not have already.
    pub fn head_specs(config: &Config) -> Vec<Spec> {
        Self::task(config).specs(config)
    }

    /// The task of its head.
    fn task(config: &Config) -> Task {
        Task::called(Self::TASK, LanguageHead::new(config, Precision::F32))
    }

    /// Parameters of backbone and head by name.
    pub fn params(&self) -> Parameters {
        self.backbone.params.with(&self.head)
    }

    /// The encoder, shared with the backbone, and the head, for inference with matrix products in `precision`; cached
    /// for the next call.
    pub fn network(&self, precision: Precision) -> Result<Arc<LanguageNetwork>> {
        let encoder = || self.backbone.encoder(precision);
        self.network
            .get(precision, || LanguageNetwork::of(encoder()?, &self.params(), &self.backbone.config, precision))
    }

    /// Free the cached networks.
    pub(crate) fn forget_networks(&self) {
        self.network.forget();
        self.backbone.forget_encoder();
    }

    /// The `n` likeliest next tokens of each text by a causal model: ids and probabilities.
    pub fn next_tokens(&self, texts: &[String], n: usize, precision: Precision) -> Result<Vec<Vec<(u32, f32)>>> {
        let encodings = self.backbone.encode(texts, None, None)?;
        let batch = PackedBatch::collate(&encodings, (0..texts.len()).collect());
        let (rows, network) = (batch.last_tokens(), self.network(precision)?);
        let logits = in_pool(|| network.logits(&batch, &Context::default(), Some(rows)))?;
        let logits = logits.array().values()?;
        check_finite(&logits, || self.params())?;
        Ok(logits.chunks_exact(self.backbone.config.vocab_size).map(|row| likeliest(row, n)).collect())
    }

    /// Write a Hugging Face directory with `metadata`, read it back, compare predictions and weights, then replace what
    /// was there. No weight file is larger than `max_shard_bytes`.
    pub fn save(&self, dir: &Path, metadata: &str, max_shard_bytes: u64) -> Result<()> {
        if !self.backbone.params.adapters().is_empty() {
            return Self::of(self.backbone.merged()?, self.head.clone()).save(dir, metadata, max_shard_bytes);
        }
        let config = &self.backbone.config;
        let mut raw = config.raw.clone();
        raw.insert("architectures".into(), json!([config.class(config.family.language_class)]));
        let same = |written: &Path| self.is_same(&Self::load(written)?.0);
        let (backbone, head) = (&self.backbone, &self.head);
        let written = saving::Written { backbone, head, config: &raw, metadata, max_shard_bytes };
        saving::save(dir, &written, None, same)
    }

    fn is_same(&self, read_back: &Self) -> Result<bool> {
        let probe = ["a text to compare by", "another one, of a different length!"].map(String::from);
        let expected = |model: &Self| model.next_tokens(&probe, 3, Precision::F32);
        Ok(expected(self)? == expected(read_back)? && same_values(&self.params(), &read_back.params())?)
    }

    /// Read what [`LanguageModel::save`] wrote: the model and the metadata.
    pub fn load(dir: &Path) -> Result<(Self, String)> {
        let hint = "; this directory was not written by save(). Read it with LanguageModel.from_pretrained";
        let (backbone, head, metadata) = saving::load(dir, hint, |config| Ok(Self::head_specs(config)))?;
        Ok((Self::of(backbone, head), metadata))
    }
}

/// Encoder and language-modelling head.
pub struct LanguageNetwork {
    encoder: Arc<Transformer>,
    head: LanguageHead,
    layers: HeadLayers,
    n_layers: usize,
    precision: Precision,
}

impl LanguageNetwork {
    /// Build from parameters; the trained ones receive gradients. Matrix products run in `precision`.
    pub fn load(params: &Parameters, config: &Config, precision: Precision) -> Result<Self> {
        Self::of(Arc::new(Transformer::load(params, config, precision)?), params, config, precision)
    }

    fn of(encoder: Arc<Transformer>, params: &Parameters, config: &Config, precision: Precision) -> Result<Self> {
        let head = LanguageHead::new(config, precision);
        Ok(Self {
            encoder,
            layers: head.load(params, config, precision)?,
            head,
            n_layers: config.num_hidden_layers,
            precision,
        })
    }

    /// Input of the head's output layer for these rows, `[rows, D]`; `on_layer` sees the hidden states of every layer.
    fn answers(
        &self,
        batch: &PackedBatch,
        context: &Context,
        rows: Option<Arc<[u32]>>,
        mode: Mode,
        on_layer: &mut dyn FnMut(usize, &Var) -> Result<()>,
    ) -> Result<Var> {
        let hidden = self.encoder.forward_within(batch, context, self.n_layers, mode, on_layer)?;
        let hidden = rows.map_or(Ok(hidden.clone()), |rows| embedding(&hidden, rows))?;
        self.layers.before_output(&hidden, mode)
    }

    /// Summed loss of the labelled rows, divided by `normalizer`, and the hidden states to carry to the next batch.
    pub fn loss(&self, batch: LanguageBatch, normalizer: f64, mode: Mode) -> Result<LanguageLoss> {
        let LanguageBatch { packed, context, rows, labels, remember } = batch;
        let mut states = Vec::new();
        let answers = self.answers(&packed, &context, rows, mode, &mut |_, hidden| {
            if remember.is_some() {
                states.push(hidden.array().clone());
            }
            Ok(())
        })?;
        let remembered = |remember| {
            Memory::after(context.memory.as_ref(), &states, &context.rows(&packed)?.first_tokens(&packed), &remember)
        };
        let memory = remember.map(remembered).transpose()?;
        let targets = Targets { truth: Truth::Tokens(labels), weights: None };
        let loss = self.head.loss(&self.layers, &answers, &targets, normalizer)?;
        Ok(LanguageLoss { loss, answers: answers.array().clone(), memory })
    }

    /// Logits `[n, V]` of `n` rows, from `first` on, of the output layer's inputs.
    pub(super) fn logits_of(&self, answers: &Array, first: usize, n: usize) -> Result<Var> {
        self.layers.outputs(&Var::constant(answers.rows(first, n)?))
    }

    /// Loss of each row; none where there is no label.
    pub fn losses(&self, batch: &LanguageBatch) -> Result<Vec<Option<f32>>> {
        let rows = batch.rows.clone();
        let answers = self.answers(&batch.packed, &batch.context, rows, Mode::inference(), &mut |_, _| Ok(()))?;
        token_losses(&answers, self.layers.output(), &batch.labels, self.precision)
    }

    /// Logits of the next token of each sequence, `[B, V]`; the batch's keys and values are added to the cache.
    pub(super) fn next_logits(&self, batch: &PackedBatch, cache: &Arc<Mutex<Cache>>) -> Result<Var> {
        let context = Context { cache: Some(cache.clone()), ..Context::default() };
        self.logits(batch, &context, Some(batch.last_tokens()))
    }

    /// Logits of these rows, `[rows, V]`: of the next token in causal models, of the token itself in others.
    pub fn logits(&self, batch: &PackedBatch, context: &Context, rows: Option<Arc<[u32]>>) -> Result<Var> {
        let hidden =
            self.encoder.forward_within(batch, context, self.n_layers, Mode::inference(), &mut |_, _| Ok(()))?;
        let hidden = rows.map_or(Ok(hidden.clone()), |rows| embedding(&hidden, rows))?;
        self.layers.forward(&hidden, Mode::inference())
    }
}

/// The `n` largest probabilities of `softmax(logits)`, with their token ids.
pub(crate) fn likeliest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    order.truncate(n);
    order.into_iter().map(|id| (id, (f64::from(logits[id as usize] - max).exp() / sum) as f32)).collect()
}
