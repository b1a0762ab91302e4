//! The trained function: inputs of a batch to logits.

use super::options::ClassifierOptions;
use crate::array::Array;
use crate::autograd::Value;
use crate::backbone::{Config, Mode, Parameters, Pooling, Task, Transformer, collect_rows};
use crate::batch::PackedBatch;
use crate::error::Result;
use crate::head::TaskHead;
use crate::ops::embedding::embedding;
use crate::text::Encodings;

/// What goes in: tokens, or, below a frozen encoder, what it made of them once.
pub enum Inputs<'a> {
    Tokens(&'a Encodings),
    /// The pooled last hidden states of what is classified, `[N, k D]`, and where they come from.
    Features(Value, &'a Encodings),
}

impl<'a> Inputs<'a> {
    /// What the encoder makes of all texts, without dropout.
    pub fn precomputed(
        &self,
        params: &Parameters,
        config: &Config,
        options: &ClassifierOptions,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let encodings = self.encodings();
        let encoder = Transformer::load(params, config, options.training.precision)?;
        let forward = |batch: &PackedBatch| {
            let hidden = encoder.forward(batch, config.num_hidden_layers, Mode::inference())?;
            Pooling::join(&config.head(options.task).pooling, &hidden, batch)
        };
        let d = config.hidden_size * config.head(options.task).pooling.len();
        let rows = collect_rows(encodings, options.training.batch_tokens, (d, params), &forward, progress)?;
        let features = Array::new(rows, (encodings.n_items(), d))?;
        Ok(Self::Features(Value::constant(features), encodings))
    }

    /// The texts.
    pub fn encodings(&self) -> &'a Encodings {
        match self {
            Self::Tokens(encodings) | Self::Features(_, encodings) => encodings,
        }
    }

    /// Tokens of each text.
    pub fn lengths(&self) -> Vec<usize> {
        self.encodings().lengths()
    }

    /// What there is to classify in these texts.
    pub fn items(&self, examples: &[usize]) -> Vec<usize> {
        examples.iter().flat_map(|&example| self.encodings().items(example)).collect()
    }

    /// What there is to classify in all.
    pub fn n_items(&self) -> usize {
        self.encodings().n_items()
    }
}

/// Encoder and head.
pub struct Network<'a> {
    encoder: Transformer,
    head: TaskHead,
    task: Task,
    config: &'a Config,
}

impl<'a> Network<'a> {
    /// From parameters; those that are trained receive gradients. The encoder's products are computed in the options' precision.
    pub fn load(params: &Parameters, config: &'a Config, options: &ClassifierOptions) -> Result<Self> {
        let encoder = Transformer::load(params, config, options.training.precision)?;
        let head = TaskHead::load(params, config, options.task, options.objective.n_outputs)?;
        Ok(Self { encoder, head, task: options.task, config })
    }

    /// Logits `[B, C]` of what is classified in the texts `examples`.
    pub fn logits(&self, inputs: &Inputs, examples: &[usize], mode: Mode) -> Result<Value> {
        let pooled = match inputs {
            Inputs::Tokens(encodings) => {
                let batch = PackedBatch::collate(encodings, examples.to_vec());
                let hidden = self.encoder.forward(&batch, self.config.num_hidden_layers, mode)?;
                Pooling::join(&self.config.head(self.task).pooling, &hidden, &batch)?
            }
            Inputs::Features(features, _) => {
                embedding(features, inputs.items(examples).into_iter().map(|i| i as u32).collect())?
            }
        };
        self.head.forward(&pooled, mode)
    }
}
