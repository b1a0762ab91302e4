//! Pretrain a language model, or a replaced-token detector with its generator, on a corpus.

use serde_json::{Value as Json, json};

use super::batches::{Batches, Groups};
use super::identity::{MODEL, of_models};
use super::learner::{Found, Learner};
use super::monitor::Monitor;
use super::options::PretrainingOptions;
use super::plan::Plan;
use super::pretrainable::{Pass, Pretrainable};
use super::pretraining_data::{Data, Documents};
use super::trainer::{Outcome, train};
use crate::autograd::Var;
use crate::backbone::{Memory, Mode, Parameters};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::LanguageBatch;
use crate::rng::{Key, Stream};

/// Train a copy of `model` on `documents` of a corpus and evaluate on `held_out`. The model itself does not change.
pub fn pretrain<M: Pretrainable>(
    model: &M,
    documents: Documents,
    held_out: Option<Documents>,
    options: &PretrainingOptions,
    monitor: &mut dyn Monitor,
) -> Result<Outcome<M>> {
    let data = |documents| Data::new(documents, model.backbone(), options);
    let (data, held_out) = (data(documents)?, held_out.map(data).transpose()?);
    if let Some(data) = &held_out
        && !in_pool(|| data.asks_when_evaluated())?
    {
        return Err(nothing_asked("the texts to evaluate on"));
    }
    let plan = Plan::of_pretraining(model, options)?;
    let params = plan.extended(model.params(), &model.backbone().config, options.training.seed)?;
    model.forget_networks();
    let mut learner = PretrainingLearner { model, options, data, held_out };
    train(&mut learner, &params, &plan, &options.training, monitor, |params| model.with_params(params))
}

fn nothing_asked(of: &str) -> Error {
    Error::Data(format!("no token of {of} can be asked for: its sequences are too short for the objective"))
}

struct PretrainingLearner<'a, M> {
    model: &'a M,
    options: &'a PretrainingOptions,
    data: Data<'a>,
    held_out: Option<Data<'a>>,
}

/// The micro-batches of an optimiser step.
struct Step {
    batches: Vec<Option<LanguageBatch>>,
    /// Number of predicted tokens, and of all tokens, in the step.
    asked: usize,
    tokens: usize,
    /// Key for the model's own random draws.
    drawing: Key,
}

impl<M: Pretrainable> Learner for PretrainingLearner<'_, M> {
    type Network = M::Network;
    type Step = Step;

    const BEST_BY_LOSS: bool = true;

    fn batches(&self) -> &dyn Batches {
        &self.data
    }

    fn network(&self, params: &Parameters) -> Result<M::Network> {
        self.model.network(params, self.options.training.precision)
    }

    fn step(&self, groups: &Groups, number: usize) -> Result<Step> {
        let seed = self.options.training.seed;
        let batches = self.data.batches_of_step(groups, number)?;
        Ok(Step {
            asked: batches.iter().map(LanguageBatch::n_asked).sum(),
            tokens: batches.iter().map(|batch| batch.packed.n_tokens()).sum(),
            drawing: Key::new(seed, Stream::Sampling).child(number as u64),
            batches: batches.into_iter().map(Some).collect(),
        })
    }

    /// False if all sequences are too short to have labels.
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
    ) -> Result<Vec<Var>> {
        let taken = step.batches.get_mut(batch).and_then(Option::take);
        let mut data = taken.ok_or_else(|| Error::internal("a batch is asked for twice"))?;
        if step.asked == 0 && data.remember.is_none() {
            return Ok(Vec::new());
        }
        data.context.memory = memory.take().map(|memory| memory.among(data.packed.cu_seqlens.len() - 1));
        let share = data.packed.n_tokens() as f64 / step.tokens as f64;
        let pass = Pass { objective: &self.options.objective, mode, draw: step.drawing.child(batch as u64), share };
        let (losses, remembered) = M::losses(network, data, step.asked.max(1) as f64, pass)?;
        *memory = remembered;
        Ok(losses)
    }

    fn evaluate(&self, network: &M::Network, monitor: &mut dyn Monitor) -> Result<Option<Found>> {
        let Some(data) = &self.held_out else { return Ok(None) };
        let (mut sum, mut asked) = (0.0, 0usize);
        for blocks in data.by_length() {
            let draw = Key::new(0, Stream::Sampling).child(blocks[0] as u64);
            let pass = Pass { objective: &self.options.objective, mode: Mode::inference(), draw, share: 1.0 };
            let batch = data.batch_to_evaluate(&blocks)?;
            asked += batch.n_asked();
            sum += in_pool(|| M::evaluate(network, batch, pass))?;
            monitor.on_wait()?;
        }
        Ok(Some(Found { loss: sum / asked.max(1) as f64, outputs: Vec::new() }))
    }

    fn nothing_asked(&self) -> Error {
        nothing_asked("the corpus")
    }

    fn identity(&self) -> Json {
        json!({
            MODEL: of_models(&self.model.transformers()),
            "corpus": self.data.identity,
            "objective": self.options.objective,
            "max_length": self.options.max_length,
        })
    }

    fn held_out(&self) -> Option<Json> {
        self.held_out.as_ref().map(|data| data.identity.clone())
    }
}
