//! Pretrain a language model, or a detector of replaced tokens with its generator, on a corpus.

use serde_json::{Map, Value as Json, json};

use super::batches::{Batches, Groups};
use super::identity::of_models;
use super::learner::{Found, Learner};
use super::monitor::Monitor;
use super::options::PretrainingOptions;
use super::plan::Plan;
use super::pretrainable::{Pass, Pretrainable};
use super::pretraining_data::{Data, Documents};
use super::trainer::{Outcome, train};
use crate::autograd::Value;
use crate::backbone::{Backbone, Memory, Mode, Parameters};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::LanguageBatch;
use crate::objective::{Collator, LanguageObjective};
use crate::rng::{Key, Stream};

/// What a run reads, its options checked: to train, to foretell its memory, to show its batches.
pub(super) struct Setup {
    pub collator: Collator,
    pub train: Data,
    pub held_out: Option<Data>,
}

impl Setup {
    /// # Errors
    /// As [`TrainingOptions::check`] and [`Data::new`] have them; `Error::Value` if the backbone cannot serve the objective.
    pub fn new(
        backbone: &Backbone,
        documents: Documents,
        held_out: Option<Documents>,
        options: &PretrainingOptions,
    ) -> Result<Self> {
        options.training.check()?;
        let collator = options.objective.collator(backbone)?;
        let data = |documents| Data::new(documents, backbone, &collator, options);
        let (train, held_out) = (data(documents)?, held_out.map(data).transpose()?);
        Ok(Self { collator, train, held_out })
    }
}

/// Train a model, which stays as it is, on `documents` of a corpus; evaluate on others.
pub fn pretrain<M: Pretrainable>(
    model: &M,
    documents: Documents,
    held_out: Option<Documents>,
    options: &PretrainingOptions,
    monitor: &mut dyn Monitor,
) -> Result<Outcome<M>> {
    let setup = Setup::new(model.backbone(), documents.clone(), held_out.clone(), options)?;
    if let Some(data) = &setup.held_out
        && !in_pool(|| data.asks_when_evaluated(&setup.collator))?
    {
        return Err(nothing_asked("the texts to evaluate on"));
    }
    let plan = Plan::of_pretraining(options.training.how(), model, &options.objective)?;
    let mut learner = PretrainingLearner {
        model,
        params: plan.extended(model.params(), options.training.seed)?,
        options,
        of_corpus: of_documents(&documents),
        of_held_out: held_out.as_ref().map(of_documents),
        setup,
    };
    train(&mut learner, &plan, &options.training, monitor, |_, params| model.with_params(params))
}

fn nothing_asked(of: &str) -> Error {
    Error::Data(format!("no token of {of} can be asked for: its sequences are too short for the objective"))
}

/// What texts a run is given.
fn of_documents((corpus, documents): &Documents) -> Json {
    json!({"name": corpus.name(), "tokens": corpus.n_tokens(), "documents": documents})
}

struct PretrainingLearner<'a, M> {
    model: &'a M,
    params: Parameters,
    options: &'a PretrainingOptions,
    setup: Setup,
    of_corpus: Json,
    of_held_out: Option<Json>,
}

/// The batches of a step.
struct Step {
    batches: Vec<Option<LanguageBatch>>,
    /// Tokens that they ask for, and all.
    asked: usize,
    tokens: usize,
    /// For what the model draws itself.
    drawing: Key,
}

impl<M: Pretrainable> Learner for PretrainingLearner<'_, M> {
    type Network = M::Network;
    type Step = Step;

    const BEST_BY_LOSS: bool = true;

    fn params(&self) -> &Parameters {
        &self.params
    }

    fn forget_networks(&self) {
        self.model.forget_networks();
    }

    fn precompute(&mut self, _: &mut dyn Monitor) -> Result<()> {
        Ok(())
    }

    fn batches(&self) -> &dyn Batches {
        &self.setup.train
    }

    fn network(&self, params: &Parameters) -> Result<M::Network> {
        self.model.network(params, self.options.training.precision)
    }

    fn step(&self, groups: &Groups, number: usize) -> Result<Step> {
        let seed = self.options.training.seed;
        let batches = self.setup.train.batches_of_step(&self.setup.collator, groups, number)?;
        Ok(Step {
            asked: batches.iter().map(LanguageBatch::n_asked).sum(),
            tokens: batches.iter().map(|batch| batch.packed.n_tokens()).sum(),
            drawing: Key::new(seed, Stream::Sampling).child(number as u64),
            batches: batches.into_iter().map(Some).collect(),
        })
    }

    /// Not of sequences too short to ask anything of them.
    fn asks(step: &Step) -> bool {
        step.asked > 0
    }

    fn losses(
        &self,
        network: &M::Network,
        step: &mut Step,
        batch: usize,
        mode: Mode,
        memory: &mut Option<Memory>,
    ) -> Result<Vec<Value>> {
        let taken = step.batches.get_mut(batch).and_then(Option::take);
        let mut data = taken.ok_or_else(|| Error::internal("a batch is asked for twice"))?;
        data.context.memory = memory.take().map(|memory| memory.among(data.packed.cu_seqlens.len() - 1));
        let share = data.packed.n_tokens() as f64 / step.tokens as f64;
        let pass = Pass { objective: &self.options.objective, mode, draw: step.drawing.child(batch as u64), share };
        let (losses, remembered) = M::losses(network, data, step.asked.max(1) as f64, pass)?;
        *memory = remembered;
        Ok(losses)
    }

    fn remembers(&self) -> bool {
        matches!(self.options.objective, LanguageObjective::Permutation { .. })
    }

    fn evaluate(&self, network: &M::Network, monitor: &mut dyn Monitor) -> Result<Option<Found>> {
        let Some(data) = &self.setup.held_out else { return Ok(None) };
        let (mut sum, mut asked) = (0.0, 0usize);
        for blocks in data.by_length() {
            let draw = Key::new(0, Stream::Sampling).child(blocks[0] as u64);
            let pass = Pass { objective: &self.options.objective, mode: Mode::inference(), draw, share: 1.0 };
            let batch = data.batch_to_evaluate(&self.setup.collator, &blocks)?;
            asked += batch.n_asked();
            sum += in_pool(|| M::evaluate(network, batch, pass))?;
            monitor.on_wait()?;
        }
        Ok(Some(Found { loss: sum / asked.max(1) as f64, outputs: Vec::new() }))
    }

    fn nothing_asked(&self) -> Error {
        nothing_asked("the corpus")
    }

    fn identity(&self) -> Result<Json> {
        let mut all = Map::from_iter([of_models(&self.model.transformers())]);
        all.insert("corpus".into(), self.of_corpus.clone());
        all.insert("objective".into(), json!(self.options.objective));
        all.insert("max_length".into(), self.options.max_length.into());
        Ok(all.into())
    }

    fn held_out(&self) -> Result<Option<Json>> {
        Ok(self.of_held_out.clone())
    }
}
