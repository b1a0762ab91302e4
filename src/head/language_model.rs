//! A backbone with the head of its language model: what it gives each token of the vocabulary.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::language_head::LanguageHead;
use super::layers::HeadLayers;
use super::saving;
use super::targets::{Targets, Truth};
use super::task::{Head, Task};
use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{
    Backbone, Cache, Cached, Config, Context, Memory, Mode, Parameters, Remember, Spec, Transformer, check_finite,
    same_values,
};
use crate::batch::PackedBatch;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::ops::embedding::embedding;
use crate::ops::vocabulary_loss::token_losses;
use crate::product::Precision;
use crate::rng::{Key, Stream};

/// A backbone and the parameters of its language-modelling head; tied weights are the backbone's. Cloning shares everything.
#[derive(Clone)]
pub struct LanguageModel {
    pub backbone: Backbone,
    pub head: Parameters,
    network: Cached<LanguageNetwork>,
}

/// Sequences, and what is asked of them.
pub struct LanguageBatch {
    pub packed: PackedBatch,
    pub context: Context,
    /// The rows of the hidden states that answer; none: all of them.
    pub rows: Option<Arc<[u32]>>,
    /// What each of these rows should say, none where it is not asked.
    pub labels: Vec<Option<u32>>,
    /// What the next batch goes on with.
    pub remember: Option<Remember>,
}

impl LanguageBatch {
    /// How many tokens are asked for.
    pub fn n_asked(&self) -> usize {
        self.labels.iter().flatten().count()
    }
}

/// What training makes of a batch.
pub struct LanguageLoss {
    /// The summed loss of the rows that are asked, divided.
    pub loss: Value,
    /// What the last map of the head was given, `[rows, D]`.
    pub(super) answers: Array,
    /// What the batch asked to remember.
    pub memory: Option<Memory>,
}

impl LanguageModel {
    /// What the task of its head is called.
    pub const TASK: &str = "language";

    /// Of a backbone and the head's own parameters.
    pub fn of(backbone: Backbone, head: Parameters) -> Self {
        Self { backbone, head, network: Cached::default() }
    }

    /// Read a Hugging Face directory or a GGUF file with such a head. A head the checkpoint lacks is an error.
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

    /// A backbone with a head that begins anew, but for what it shares with the backbone.
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

    /// The parameters that the backbone does not have already.
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

    /// Encoder, which the backbone shares, and head, which learn nothing, with products in `precision`; kept for the next
    /// call.
    pub fn network(&self, precision: Precision) -> Result<Arc<LanguageNetwork>> {
        let encoder = || self.backbone.encoder(precision);
        self.network
            .get(precision, || LanguageNetwork::of(encoder()?, &self.params(), &self.backbone.config, precision))
    }

    /// Give up what is kept from one call to the next.
    pub(crate) fn forget_networks(&self) {
        self.network.forget();
        self.backbone.forget_encoder();
    }

    /// What a causal model expects after each text: the `n` likeliest tokens, ids and probabilities.
    pub fn next_tokens(&self, texts: &[String], n: usize, precision: Precision) -> Result<Vec<Vec<(u32, f32)>>> {
        let encodings = self.backbone.encode(texts, None, None)?;
        let batch = PackedBatch::collate(&encodings, (0..texts.len()).collect());
        let (rows, network) = (batch.last_tokens(), self.network(precision)?);
        let logits = in_pool(|| network.logits(&batch, &Context::default(), Some(rows)))?;
        let logits = logits.array().values()?;
        check_finite(&logits, || self.params())?;
        Ok(logits.chunks_exact(self.backbone.config.vocab_size).map(|row| likeliest(row, n)).collect())
    }

    /// Write a Hugging Face directory and `metadata`, read it back, compare logits, then replace what was there. No weight
    /// file is larger than `max_shard_bytes`.
    pub fn save(&self, dir: &Path, metadata: &str, max_shard_bytes: u64) -> Result<()> {
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

/// Encoder and head.
pub struct LanguageNetwork {
    encoder: Arc<Transformer>,
    head: LanguageHead,
    layers: HeadLayers,
    n_layers: usize,
    precision: Precision,
}

impl LanguageNetwork {
    /// From parameters; those that are trained receive gradients. Products are computed in `precision`.
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

    /// What the last map of the head takes, of these rows; `on_layer` sees every hidden state on the way.
    fn answers(
        &self,
        batch: &PackedBatch,
        context: &Context,
        rows: Option<Arc<[u32]>>,
        mode: Mode,
        on_layer: &mut dyn FnMut(usize, &Value) -> Result<()>,
    ) -> Result<Value> {
        let hidden = self.encoder.forward_within(batch, context, self.n_layers, mode, on_layer)?;
        let hidden = rows.map_or(Ok(hidden.clone()), |rows| embedding(&hidden, rows))?;
        self.layers.before_output(&hidden, mode)
    }

    /// The summed loss of the rows that are asked, divided by `normalizer`, and what is remembered of the pass.
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

    /// Logits of `n` rows of what the last map was given.
    pub(super) fn logits_of(&self, answers: &Array, first: usize, n: usize) -> Result<Value> {
        self.layers.outputs(&Value::constant(answers.rows(first, n)?))
    }

    /// The loss of each row, none where it is not asked.
    pub fn losses(&self, batch: &LanguageBatch) -> Result<Vec<Option<f32>>> {
        let rows = batch.rows.clone();
        let answers = self.answers(&batch.packed, &batch.context, rows, Mode::inference(), &mut |_, _| Ok(()))?;
        token_losses(&answers, self.layers.output(), &batch.labels, self.precision)
    }

    /// Logits of what comes after the last token of each sequence, `[B, V]`; its tokens join the cache.
    pub(super) fn next_logits(&self, batch: &PackedBatch, cache: &Arc<Mutex<Cache>>) -> Result<Value> {
        let context = Context { cache: Some(cache.clone()), ..Context::default() };
        self.logits(batch, &context, Some(batch.last_tokens()))
    }

    /// Logits of these rows, `[rows, V]`: for causal models of the token after each, for others of each itself.
    pub fn logits(&self, batch: &PackedBatch, context: &Context, rows: Option<Arc<[u32]>>) -> Result<Value> {
        let hidden =
            self.encoder.forward_within(batch, context, self.n_layers, Mode::inference(), &mut |_, _| Ok(()))?;
        let hidden = rows.map_or(Ok(hidden.clone()), |rows| embedding(&hidden, rows))?;
        self.layers.forward(&hidden, Mode::inference())
    }
}

/// The `n` largest of `softmax(logits)`, with their positions.
pub(crate) fn likeliest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    order.truncate(n);
    order.into_iter().map(|id| (id, (f64::from(logits[id as usize] - max).exp() / sum) as f32)).collect()
}
