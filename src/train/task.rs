//! Train a model for a task on texts or their words.

use super::batches::{Batches, Groups, TextBatches};
use super::identity::{MODEL, of_models};
use super::inputs::Inputs;
use super::learner::{Found, Learner};
use super::monitor::Monitor;
use super::options::TaskOptions;
use super::plan::Plan;
use super::trainer::{Outcome, train};
use crate::autograd::Var;
use crate::backbone::{Backbone, Level, Memory, Mode, Parameters, Transformer, fingerprint_of};
use crate::batch::in_order_of_length;
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::{Head, Start, Targets, TaskModel, TaskNetwork, Truth};
use crate::text::Encodings;

/// Tokenised texts with their targets, for each text or each word.
pub struct Dataset<'a> {
    pub encodings: &'a Encodings,
    pub truth: Truth,
    /// Weight of each text, `[n_texts]`; none: all weights are equal.
    pub sample_weight: Option<Vec<f32>>,
}

impl Dataset<'_> {
    /// The targets with a weight for each item; every word has the weight of its text.
    fn targets(&self) -> Result<Targets> {
        let of_text = |weights: &Vec<f32>| {
            let n = self.encodings.len();
            if weights.len() != n || weights.iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
                return Err(Error::Value(format!("sample_weight: expected {n} finite numbers of 0 or more")));
            }
            Ok((0..n).flat_map(|text| self.encodings.items(text).map(move |_| weights[text])).collect())
        };
        let weights = self.sample_weight.as_ref().map(of_text).transpose()?;
        Ok(Targets { truth: self.truth.clone(), weights })
    }
}

/// Train a copy of a backbone for a task, with the head initialised from `start`. The backbone itself does not change.
pub fn fit<'a>(
    backbone: &Backbone,
    train_set: &Dataset<'a>,
    eval: Option<&Dataset<'a>>,
    options: &TaskOptions,
    start: Start,
    monitor: &mut dyn Monitor,
) -> Result<Outcome<TaskModel>> {
    options.check()?;
    let (task, training) = (&options.task, &options.training);
    let head = &*task.head;
    let checked = |set: &Dataset<'a>, name: &str| -> Result<(Inputs<'a>, Targets)> {
        let n = set.encodings.n_items();
        if set.encodings.has_words() != (head.level() == Level::Words) {
            return Err(Error::internal("words are known of some texts and asked of others"));
        }
        if n == 0 {
            return Err(Error::Value(format!("{name}: no texts")));
        }
        let targets = set.targets()?;
        targets.check(head.learns_from(), n, head.n_outputs(), name)?;
        Ok((Inputs::new(set.encodings), targets))
    };
    let (inputs, targets) = checked(train_set, "training set")?;
    let held_out = eval.map(|eval| checked(eval, "eval_set")).transpose()?;
    if let Some((_, targets)) = &held_out
        && head.normalizer(targets) <= 0.0
    {
        return Err(Error::Value("eval_set: class_weight is 0 for every text in it".into()));
    }
    let params = TaskModel::initial(backbone, task, start, training.seed)?;
    let plan = Plan::of_task((&training.strategy, &training.optimizer), backbone, task)?;
    let params = plan.extended(params, &backbone.config, training.seed)?;
    let mut learner = TaskLearner {
        backbone,
        options,
        frozen: plan.encoder_is_frozen(&backbone.config),
        batches: TextBatches::new(train_set.encodings.lengths(), training),
        inputs,
        targets,
        held_out,
    };
    backbone.forget_encoder();
    train(&mut learner, &params, &plan, training, monitor, |params| Ok(TaskModel::new(backbone, params, task.clone())))
}

struct TaskLearner<'a> {
    backbone: &'a Backbone,
    options: &'a TaskOptions,
    /// True if nothing below the head is trained.
    frozen: bool,
    batches: TextBatches<'a>,
    inputs: Inputs<'a>,
    targets: Targets,
    held_out: Option<(Inputs<'a>, Targets)>,
}

impl TaskLearner<'_> {
    fn head(&self) -> &dyn Head {
        &*self.options.task.head
    }

    /// The targets of these items.
    fn of_items(&self, items: &[usize]) -> Targets {
        self.targets.select(items, self.head().n_outputs())
    }
}

/// The micro-batches of an optimiser step, and the divisor of their summed loss.
struct Step {
    groups: Groups,
    normalizer: f64,
}

impl<'a> Learner for TaskLearner<'a> {
    type Network = TaskNetwork<'a>;
    type Step = Step;

    const BEST_BY_LOSS: bool = false;

    fn precompute(&mut self, params: &Parameters, monitor: &mut dyn Monitor) -> Result<()> {
        if !self.frozen {
            return Ok(());
        }
        let (network, config) = (self.network(params)?, &self.backbone.config);
        let width = config.hidden_size * self.head().layers(config).pooling.len();
        let budget = self.options.training.batch_tokens;
        let held_out = self.held_out.as_mut().map(|(inputs, _)| inputs);
        for inputs in [&mut self.inputs].into_iter().chain(held_out) {
            inputs.precompute(&network, (width, params), budget, &mut |_| monitor.on_wait())?;
        }
        Ok(())
    }

    fn batches(&self) -> &dyn Batches {
        &self.batches
    }

    fn network(&self, params: &Parameters) -> Result<TaskNetwork<'a>> {
        let (config, TaskOptions { task, training }) = (&self.backbone.config, self.options);
        let encoder = Transformer::load(params, config, training.precision)?;
        TaskNetwork::new(encoder.into(), params, config, task)
    }

    fn step(&self, groups: &Groups, _: usize) -> Result<Step> {
        let all: Vec<usize> = groups.iter().flatten().copied().collect();
        let normalizer = self.head().normalizer(&self.of_items(&self.inputs.items(&all)));
        Ok(Step { groups: groups.clone(), normalizer })
    }

    /// False if every text of the step has weight zero.
    fn asks(step: &Step) -> bool {
        step.normalizer > 0.0
    }

    fn losses(
        &self,
        network: &TaskNetwork,
        step: &mut Step,
        batch: usize,
        mode: Mode,
        _: &mut Option<Memory>,
    ) -> Result<Vec<Var>> {
        if !Self::asks(step) {
            return Ok(Vec::new());
        }
        let texts = &step.groups[batch];
        let (pooled, targets) = (self.inputs.pooled(network, texts, mode)?, self.of_items(&self.inputs.items(texts)));
        Ok(vec![network.loss(&pooled, &targets, step.normalizer, mode)?])
    }

    fn evaluate(&self, network: &TaskNetwork, monitor: &mut dyn Monitor) -> Result<Option<Found>> {
        let Some((inputs, targets)) = &self.held_out else { return Ok(None) };
        let c = self.head().n_outputs();
        let (normalizer, mode) = (self.head().normalizer(targets), Mode::inference());
        let (mut outputs, mut sum) = (vec![0f32; inputs.encodings.n_items() * c], 0.0);
        for texts in in_order_of_length(&inputs.encodings.lengths(), self.options.training.batch_tokens) {
            let items = inputs.items(&texts);
            let (found, loss) = in_pool(|| {
                let pooled = inputs.pooled(network, &texts, mode)?;
                let loss = network.loss(&pooled, &targets.select(&items, c), normalizer, mode)?;
                Ok::<_, Error>((network.outputs(&pooled, mode)?, loss.scalar()?))
            })?;
            sum += f64::from(loss);
            for (item, row) in items.into_iter().zip(found.array().values()?.chunks_exact(c)) {
                outputs[item * c..][..c].copy_from_slice(row);
            }
            monitor.on_wait()?;
        }
        Ok(Some(Found { loss: sum, outputs }))
    }

    fn nothing_asked(&self) -> Error {
        Error::Value("class_weight and sample_weight are 0 for every text: there is nothing to learn".into())
    }

    fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({
            MODEL: of_models(&[&self.backbone.config]),
            "texts": of_texts(&self.inputs, &self.targets),
            "task": &*self.options.task.name,
        });
        if let Some(fields) = identity.as_object_mut() {
            fields.append(&mut self.head().identity());
        }
        identity
    }

    fn held_out(&self) -> Option<serde_json::Value> {
        self.held_out.as_ref().map(|(inputs, targets)| of_texts(inputs, targets))
    }
}

/// Identity of the texts, labels and weights of a data set, for checkpoints.
fn of_texts(inputs: &Inputs, targets: &Targets) -> serde_json::Value {
    let (encodings, bits) = (inputs.encodings, |values: &[f32]| bytemuck::cast_slice::<f32, u32>(values).to_vec());
    let labels = targets.truth.bits();
    let weights = targets.weights.as_deref().map(bits).unwrap_or_default();
    serde_json::json!({
        "how many": encodings.len(),
        "ids": fingerprint_of((0..encodings.len()).map(|text| encodings.ids(text))),
        "labels": fingerprint_of([labels.as_slice()].into_iter()),
        "weights": fingerprint_of([weights.as_slice()].into_iter()),
    })
}
