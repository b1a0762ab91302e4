//! Where a pretraining run stands, in one file: the parameters that learn, the optimiser's moments, what the next batch
//! remembers of the one before, what was counted, and the history so far: a row for each evaluation, a bounded curve.
//!
//! All that is drawn at random, and the order of the data, follow from the seed and the number of the step, so a run that goes
//! on from here does what it would have done, bit for bit.

use std::borrow::Cow;
use std::path::Path;

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::learner::Learner;
use super::optimisation::Optimisation;
use super::pretraining_options::PretrainOptions;
use super::pretraining_setup::Documents;
use crate::array::{Array, Values};
use crate::backbone::{Config, Memory, Parameters, write_safetensors};
use crate::compute::{MappedFile, in_pool};
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::report::{Curve, Evaluation, Record, Row, exact};
use crate::rng::{Key, Stream};

const FILE: &str = "checkpoint.safetensors";
/// Names within the file, none of which a parameter has.
const STATE: &str = "state";
const MOMENTS: [&str; 2] = ["optimizer.m", "optimizer.v"];
/// `[L, M, D]`
const MEMORY: &str = "memory";

/// Of the file's layout, and of what a run does from there on.
const FORMAT_VERSION: u32 = 2;

/// Which format a checkpoint has, and who wrote it. The first format said neither, and only warmstart 0.1.0 wrote it.
#[derive(Serialize, Deserialize)]
struct Version {
    #[serde(default = "first_format")]
    format_version: u32,
    #[serde(default = "first_writer")]
    warmstart_version: String,
}

fn first_format() -> u32 {
    1
}

fn first_writer() -> String {
    "0.1.0".into()
}

impl Version {
    fn current() -> Self {
        Self { format_version: FORMAT_VERSION, warmstart_version: env!("CARGO_PKG_VERSION").into() }
    }
}

/// Where a run stands, and what it has told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    pub step: usize,
    pub tokens: usize,
    /// Of the losses since the last row.
    #[serde(with = "exact")]
    pub loss_sum: f64,
    pub losses: usize,
    /// Of the optimiser, which takes none where nothing is asked.
    pub updates: usize,
    pub last: Record,
    pub rows: Vec<Row>,
    pub curve: Curve,
    /// What the rows were evaluated on, as [`of_documents`] names it.
    pub evaluated_on: Option<Value>,
}

impl Progress {
    /// Go on with evaluations on these documents.
    ///
    /// # Errors
    /// `Error::Training` if the rows so far are of others: their losses would not be comparable.
    pub fn evaluate_on(&mut self, directory: &Path, documents: &Documents) -> Result<()> {
        let now = of_documents(documents);
        if let Some(difference) = self.evaluated_on.as_ref().and_then(|then| difference(then, &now)) {
            return Err(Error::Training(format!(
                "{}: is of a run with another eval_set: {difference}. To go on, evaluate as that run did; else give another \
                 checkpoint_dir, or remove it",
                directory.join(FILE).display()
            )));
        }
        self.evaluated_on = Some(now);
        Ok(())
    }

    /// The evaluation with the smallest loss, of equal ones the first.
    pub fn best(&self) -> Option<(&Record, &Evaluation)> {
        let evaluated = self.rows.iter().filter_map(|row| Some((&row.record, row.evaluation.as_ref()?)));
        evaluated.min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss))
    }

    /// Evaluations since the best one.
    pub fn since_best(&self) -> usize {
        let best = self.best().map_or(0, |(record, _)| record.step);
        self.rows.iter().filter(|row| row.evaluation.is_some() && row.record.step > best).count()
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    #[serde(flatten)]
    version: Version,
    identity: Value,
    progress: Progress,
    /// Where the memory of each sequence begins, and the end, if anything is remembered.
    memory: Option<Vec<u32>>,
}

const STARTING_WEIGHTS: &str = "starting weights";
const MODEL: &str = "model";

/// What texts a run is given.
fn of_documents((corpus, documents): &Documents) -> Value {
    json!({"name": corpus.name(), "tokens": corpus.n_tokens(), "documents": documents})
}

/// What must be the same for a run to go on: the model it begins with, data and options, but for where and how often it is
/// saved and evaluated.
pub(super) fn identity(model: &impl Learner, documents: &Documents, options: &PretrainOptions) -> Result<Value> {
    let raw = |config: &Config| {
        let mut raw = config.raw.clone();
        for unrelated in ["_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version"] {
            raw.remove(unrelated);
        }
        raw
    };
    Ok(json!({
        STARTING_WEIGHTS: fingerprint(&model.params())?,
        MODEL: model.transformers().into_iter().map(raw).collect::<Vec<_>>(),
        "corpus": of_documents(documents),
        "strategy": options.strategy,
        "objective": options.objective,
        "epochs": options.max_steps.map_or(Some(options.epochs), |_| None),
        "max_steps": options.max_steps,
        "batch_tokens": options.batch_tokens,
        "accumulation_steps": options.accumulation_steps,
        "max_length": options.max_length,
        "random_state": options.seed,
        "precision": options.precision,
    }))
}

/// Of all values, by name: the same for the same weights, another for others but for an accident in 2^64.
fn fingerprint(params: &Parameters) -> Result<String> {
    let all: Vec<(&str, &Array)> = params.iter().collect();
    let of_one = |(name, tensor): &(&str, &Array)| -> Result<u64> {
        let step = |hash: u64, word: u32| (hash ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let values = tensor.values()?;
        let named = name.bytes().fold(0, |hash, byte| step(hash, byte.into()));
        Ok(values.iter().fold(named, |hash, value| step(hash, value.to_bits())))
    };
    let each = in_pool(|| all.par_iter().map(of_one).collect::<Result<Vec<u64>>>())?;
    let whole = each.into_iter().fold(Key::new(0, Stream::Init), Key::child);
    Ok(format!("{:016x}", whole.uniform_u64(0)))
}

/// Put a checkpoint into `directory` in place of the one before.
pub(super) fn write(
    directory: &Path,
    identity: &Value,
    (progress, memory): (&Progress, Option<&Memory>),
    optimisation: &Optimisation,
) -> Result<()> {
    let memory = memory.filter(|memory| memory.cu_seqlens.last() > Some(&0));
    let state = State {
        version: Version::current(),
        identity: identity.clone(),
        progress: progress.clone(),
        memory: memory.map(|memory| memory.cu_seqlens.to_vec()),
    };
    let state = serde_json::to_vec(&state).map_err(|e| Error::internal(format!("checkpoint: {e}")))?;
    let n = state.len();
    let memory = memory.map(|memory| Array::stack(&memory.hidden)).transpose()?;
    let trained = optimisation.trainable().iter().map(|p| (p.name.as_str(), &p.array));
    let moments = MOMENTS.into_iter().zip(optimisation.optimiser.moments());
    let memory = memory.iter().map(|memory| (MEMORY, memory));
    let mut stored: Vec<(String, Stored)> =
        trained.chain(moments).chain(memory).map(Stored::values).collect::<Result<_>>()?;
    stored.push((STATE.into(), Stored { dtype: Dtype::U8, shape: vec![n], content: Content::Bytes(&state) }));
    let mut staged = Staged::begin(directory)?;
    let path = staged.reserve(FILE)?;
    write_safetensors(stored, &path)?;
    staged.commit(|_| Ok(Vec::new()))
}

/// A tensor that is written from where it lies.
struct Stored<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    content: Content<'a>,
}

enum Content<'a> {
    Values(Values<'a>),
    Bytes(&'a [u8]),
}

impl<'a> Stored<'a> {
    fn values((name, tensor): (&str, &'a Array)) -> Result<(String, Self)> {
        let content = Content::Values(tensor.values()?);
        Ok((name.to_string(), Self { dtype: Dtype::F32, shape: tensor.dims().to_vec(), content }))
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.content {
            Content::Values(values) => bytemuck::cast_slice(values).into(),
            Content::Bytes(bytes) => (*bytes).into(),
        }
    }

    fn data_len(&self) -> usize {
        self.data().len()
    }
}

/// Go on from the checkpoint in `directory`, if there is one.
pub(super) fn read(
    directory: &Path,
    identity: &Value,
    optimisation: &mut Optimisation,
) -> Result<Option<(Progress, Option<Memory>)>> {
    let path = directory.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let bad = |what: String| Error::Training(format!("{}: {what}", path.display()));
    let file = MappedFile::open(&path)?;
    let stored = SafeTensors::deserialize(&file).map_err(|e| bad(e.to_string()))?;
    let view = |name: &str| stored.tensor(name).map_err(|e| bad(e.to_string()));
    let values = |name: &str| {
        let view = view(name)?;
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(bytemuck::pod_read_unaligned).collect(),
            other => return Err(bad(format!("{name} is of {other:?}, expected F32"))),
        };
        Ok((values, view.shape().to_vec()))
    };
    let array = |name: &str| values(name).and_then(|(values, shape)| Array::new(values, shape));
    let unreadable = |e: serde_json::Error| bad(format!("its state cannot be read: {e}"));
    let state = view(STATE)?.data();
    let Version { format_version, warmstart_version } = serde_json::from_slice(state).map_err(unreadable)?;
    if format_version != FORMAT_VERSION {
        return Err(bad(format!(
            "was written by warmstart {warmstart_version} in checkpoint format {format_version}, and this is warmstart {}, \
             which goes on from format {FORMAT_VERSION}; finish the run with that version, or give another checkpoint_dir",
            Version::current().warmstart_version
        )));
    }
    let State { identity: found, progress, memory: starts, .. } = serde_json::from_slice(state).map_err(unreadable)?;
    // Numbers that were written and read are held against such: reading may give the one beside.
    let now: Value =
        serde_json::to_vec(identity).and_then(|bytes| serde_json::from_slice(&bytes)).map_err(unreadable)?;
    if found[STARTING_WEIGHTS] != now[STARTING_WEIGHTS] && found[MODEL] == now[MODEL] {
        return Err(bad(
            "is of a run that began with other weights. To go on, make the model anew, from what that run began with and \
             with its random_state: one that has learnt since has others. Else give another checkpoint_dir, or remove it"
                .into(),
        ));
    }
    if let Some(difference) = difference(&found, &now) {
        return Err(bad(format!(
            "is of a run with another {difference}. To go on, begin as that run did; else give another checkpoint_dir, \
             or remove it"
        )));
    }
    let [m, v] = MOMENTS.map(array);
    let moments = [m?, v?];
    optimisation.restore(array, moments, progress.updates).map_err(|e| bad(e.to_string()))?;
    let memory = starts.map(|starts| -> Result<Memory> {
        Ok(Memory { hidden: array(MEMORY)?.entries()?, cu_seqlens: starts.into() })
    });
    Ok(Some((progress, memory.transpose()?)))
}

/// Where two values differ first: the names that lead there, and what is there then and now.
fn difference(then: &Value, now: &Value) -> Option<String> {
    if then == now {
        return None;
    }
    let inner = match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let names = now.keys().chain(then.keys());
            names.into_iter().find_map(|name| {
                let [then, now] = [then, now].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                Some((name.as_str(), difference(then, now)?))
            })
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            then.iter().zip(now).find_map(|(then, now)| Some(("", difference(then, now)?)))
        }
        _ => None,
    };
    Some(match inner {
        Some((name, difference)) => format!("{name} {difference}").trim_start().to_string(),
        None => format!("{}, now {}", short(then), short(now)),
    })
}

fn short(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = value.to_string();
    if text.chars().count() > SHOWN { text.chars().take(SHOWN).chain("...".chars()).collect() } else { text }
}
