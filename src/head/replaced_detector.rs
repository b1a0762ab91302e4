//! ELECTRA (Clark et al. 2020): a discriminator that detects which tokens a generator has replaced, both trained
//! together.

use std::path::Path;

use serde_json::json;

use super::language_model::{LanguageBatch, LanguageLoss, LanguageModel, LanguageNetwork};
use super::saving;
use crate::array::Array;
use crate::autograd::Var;
use crate::backbone::{
    Backbone, Config, Context, Init, Linear, Map, Mode, Owner, Parameters, Spec, Transformer, same_values,
};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::matmul::Precision;
use crate::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use crate::rng::{Key, Stream};

/// Prefix of the generator's parameter names where they stand beside the discriminator's.
const GENERATOR: &str = "generator.";

/// Name of the task that owns the generator's parameters: to the discriminator, the whole generator is a head.
const GENERATING: &str = "generation";

/// A discriminator with its head, and its generator. Cloning shares everything.
///
/// If their embedding tables have the same shape, the generator uses the discriminator's (section 3.2).
#[derive(Clone)]
pub struct ReplacedDetector {
    /// The discriminator.
    pub backbone: Backbone,
    pub head: Parameters,
    pub generator: LanguageModel,
}

/// Layers of the discriminator's head: a dense layer and a logit for each token, named as in
/// `transformers.ElectraForPreTraining`.
fn head_maps(config: &Config) -> [Map; 2] {
    let (d, init) = (config.hidden_size, Init::Normal(config.initializer.std));
    [
        Map::new("discriminator_predictions.dense", [d, d], true, init),
        Map::new("discriminator_predictions.dense_prediction", [1, d], true, init),
    ]
}

impl ReplacedDetector {
    /// Name of the head's task.
    pub const TASK: &str = "detection";

    /// A discriminator with a new head, and a generator with a new head.
    ///
    /// # Errors
    /// `Error::Value` if the generator has another tokenizer, cannot fill masks, or supports fewer tokens.
    pub fn new(backbone: &Backbone, generator: &Backbone, seed: u64) -> Result<Self> {
        Self::check_generator(backbone, generator)?;
        let head = Parameters::initialised(&Self::head_specs(&backbone.config), Key::new(seed, Stream::Init))?;
        let generator = LanguageModel::new(generator, seed)?;
        Ok(Self { backbone: backbone.clone(), head, generator })
    }

    fn check_generator(backbone: &Backbone, generator: &Backbone) -> Result<()> {
        let (ours, theirs) = (&backbone.config, &generator.config);
        let problem = if ours.vocab_size != theirs.vocab_size {
            format!("has a vocabulary of {} tokens, the backbone of {}", theirs.vocab_size, ours.vocab_size)
        } else if !generator.tokenizer.has_tokens_of(&backbone.tokenizer) {
            "has another tokenizer than the backbone".to_string()
        } else if !theirs.capabilities.masked {
            format!("is a {}, which cannot fill masks", theirs.model_type())
        } else if theirs.max_length < ours.max_length {
            format!("supports {} tokens, the backbone {}", theirs.max_length, ours.max_length)
        } else {
            return Ok(());
        };
        Err(Error::Value(format!(
            "the generator {problem}; it must share the backbone's tokenizer, see every token, and support as many"
        )))
    }

    /// Specs of the parameters of the discriminator's head.
    pub fn head_specs(config: &Config) -> Vec<Spec> {
        let mut specs = Vec::new();
        for map in head_maps(config) {
            map.specs(&mut specs);
        }
        specs.into_iter().map(|spec| spec.of(&Owner::head(Self::TASK))).collect()
    }

    /// Names of the embedding tables that the generator shares with the discriminator.
    fn shared(&self) -> Vec<String> {
        let names = [&self.backbone, &self.generator.backbone].map(|b| {
            let n = &b.config.family.names;
            [n.word_embeddings, n.position_embeddings, n.segment_embeddings]
        });
        let same = |name: &String| {
            let shape = |model: &Parameters| model.get(name).map(Array::dims).ok().map(<[usize]>::to_vec);
            shape(&self.backbone.params).is_some()
                && shape(&self.backbone.params) == shape(&self.generator.backbone.params)
        };
        let tables = names[0].iter().zip(names[1]).filter(|(ours, theirs)| **ours == *theirs && !ours.is_empty());
        tables.map(|(name, _)| format!("{name}.weight")).filter(same).collect()
    }

    /// Specs of all parameters from the bottom to the top, shared ones once.
    pub fn specs(&self) -> Vec<Spec> {
        let (config, generator, shared) = (&self.backbone.config, &self.generator.backbone.config, self.shared());
        let theirs = [Backbone::specs(generator), LanguageModel::head_specs(generator)].concat();
        let theirs = theirs.into_iter().filter(|spec| !shared.contains(&spec.name));
        let theirs = theirs.map(|spec| Spec::new(format!("{GENERATOR}{}", spec.name), &spec.shape, spec.init));
        let theirs = theirs.map(|spec| spec.of(&Owner::head(GENERATING))).collect();
        [Backbone::specs(config), Self::head_specs(config), theirs].concat()
    }

    /// True if the parameter belongs to a pooler or sentence module of either model: detection does not use it.
    pub fn is_of_text_vectors(&self, name: &str) -> bool {
        let (config, name) = match name.strip_prefix(GENERATOR) {
            Some(name) => (&self.generator.backbone.config, name),
            None => (&self.backbone.config, name),
        };
        config.is_pooler(name) || config.is_of_sentence(name)
    }

    /// All parameters by name, shared ones once.
    pub fn params(&self) -> Parameters {
        let shared = self.shared();
        let theirs = self.generator.params().filter(|name| !shared.iter().any(|shared| shared == name));
        let theirs = theirs.handed_to(&Owner::head(GENERATING), |name| format!("{GENERATOR}{name}"));
        self.backbone.params.with(&self.head).with(&theirs)
    }

    /// The same models with other values of their parameters.
    pub fn with_params(&self, all: &Parameters) -> Result<Self> {
        let report = self.backbone.report.trained();
        Ok(Self {
            backbone: self.backbone.with_params(all.split_heads().0, report),
            head: all.owned(&Owner::head(Self::TASK)),
            generator: self.generator.with_params(&self.of_generator(all)?),
        })
    }

    /// The generator's parameters from `all`, under its own names; gradients of shared ones go to the discriminator's
    /// tables.
    fn of_generator(&self, all: &Parameters) -> Result<Parameters> {
        let mut params = self.generator.params();
        for (name, _) in self.generator.params().iter() {
            let found = all.value(&format!("{GENERATOR}{name}")).or_else(|_| all.value(name))?;
            params.replace_value(name, found.clone())?;
        }
        Ok(params)
    }

    /// Write a Hugging Face directory of the discriminator with `metadata`, and the generator in its subfolder
    /// `generator`.
    pub fn save(&self, dir: &Path, metadata: &str, max_shard_bytes: u64) -> Result<()> {
        let config = &self.backbone.config;
        let mut raw = config.raw.clone();
        raw.insert("architectures".into(), json!([config.class(config.family.detector_class)]));
        let generator = |dir: &Path| self.generator.save(dir, metadata, max_shard_bytes);
        let beside = saving::Beside { folder: "generator", save: &generator };
        let head = |config: &Config| Ok(Self::head_specs(config));
        let same = |written: &Path| {
            let (backbone, head, _) = saving::load(written, "", head)?;
            Ok(same_values(&self.backbone.params, &backbone.params)? && same_values(&self.head, &head)?)
        };
        let (backbone, head) = (&self.backbone, &self.head);
        let written = saving::Written { backbone, head, config: &raw, metadata, max_shard_bytes };
        saving::save(dir, &written, Some(beside), same)
    }

    /// Read what [`ReplacedDetector::save`] wrote: the models and the metadata.
    pub fn load(dir: &Path) -> Result<(Self, String)> {
        let hint = "; this directory was not written by save()";
        let (backbone, head, metadata) = saving::load(dir, hint, |config| Ok(Self::head_specs(config)))?;
        let (generator, _) = LanguageModel::load(&dir.join("generator"))?;
        Ok((Self { backbone, head, generator }, metadata))
    }

    /// Build both networks from all parameters; the trained ones receive gradients.
    pub fn network(&self, all: &Parameters, precision: Precision) -> Result<DetectorNetwork> {
        let config = &self.backbone.config;
        let generator = LanguageNetwork::load(&self.of_generator(all)?, &self.generator.backbone.config, precision)?;
        let [dense, output] = head_maps(config);
        Ok(DetectorNetwork {
            generator,
            discriminator: Transformer::load(all, config, precision)?,
            dense: Linear::load(all, &dense, Some(config.feed_forward.activation), Precision::F32)?,
            output: Linear::load(all, &output, None, Precision::F32)?,
            n_layers: config.num_hidden_layers,
        })
    }
}

/// Generator and discriminator with its head.
pub struct DetectorNetwork {
    generator: LanguageNetwork,
    discriminator: Transformer,
    dense: Linear,
    output: Linear,
    n_layers: usize,
}

impl DetectorNetwork {
    /// Losses `[generator, discriminator]` of one masked batch. The generator's loss is the sum over labelled tokens
    /// divided by `asked`. Masked tokens are then replaced by samples from the generator (`drawn`, with key `draw`);
    /// the discriminator's loss is the sigmoid cross entropy of whether each token was replaced, a mean over all tokens
    /// times `weight`.
    pub fn losses(
        &self,
        batch: LanguageBatch,
        (asked, weight): (f64, f64),
        mode: Mode,
        draw: Key,
        drawn: impl Fn(&[f32], usize, Key) -> Result<Vec<u32>>,
    ) -> Result<[Var; 2]> {
        let (masked, rows, labels) =
            (batch.packed.clone(), batch.rows.clone().unwrap_or_default(), batch.labels.clone());
        let LanguageLoss { loss: generator_loss, answers, .. } = self.generator.loss(batch, asked, mode)?;
        let mut replaced = vec![0f32; masked.n_tokens()];
        let mut ids = masked.ids.to_vec();
        // A few rows at a time, so that the logits of all of them are never held at once.
        for first in (0..rows.len()).step_by(ROWS) {
            let n = ROWS.min(rows.len() - first);
            let logits = self.generator.logits_of(&answers, first, n)?;
            let (logits, vocab_size) = (logits.array().values()?, logits.array().dims2()?.1);
            for (i, id) in drawn(&logits, vocab_size, draw.child(first as u64))?.into_iter().enumerate() {
                let row = rows[first + i] as usize;
                ids[row] = id;
                replaced[row] = f32::from(u8::from(labels[first + i] != Some(id)));
            }
        }
        let packed = PackedBatch { ids: ids.into(), ..masked };
        let mode = mode.part("discriminator");
        let context = Context::default();
        let hidden = self.discriminator.forward_within(&packed, &context, self.n_layers, mode, &mut |_, _| Ok(()))?;
        let logits = self.output.forward(&self.dense.forward(&hidden)?)?;
        let normalizer = replaced.len().max(1) as f64 / weight;
        let target = BinaryCrossEntropy { targets: replaced, class_weight: None, row_weight: None, normalizer };
        Ok([generator_loss, binary_cross_entropy(&logits, target)?])
    }
}

/// Number of rows whose logits are held at once for sampling.
const ROWS: usize = 256;
