//! The state of a training run in one file: the trained parameters, the optimiser's moments, the best weights if they
//! differ from the current ones, the memory carried to the next batch, the counters, and the history so far: one row
//! per evaluation and a loss curve of bounded size.
//!
//! All random draws and the order of the data follow from the seed and the step number, so a resumed run repeats bit
//! for bit what the uninterrupted run would have done.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::{SEED, difference, of_run, take_weights};
use super::learner::Learner;
use super::optimisation::{Optimisation, Snapshot};
use super::options::TrainingOptions;
use super::progress::Progress;
use crate::array::Array;
use crate::backbone::{Memory, Parameters, write_safetensors};
use crate::compute::MappedFile;
use crate::error::{Error, Result};
use crate::files::Staged;

const FILE: &str = "checkpoint.safetensors";
/// Key of the state in the file's metadata; formats 1 and 2 stored it as a tensor of this name.
const STATE: &str = "state";
/// Tensor names of the optimiser's moments; no parameter has such a name.
const MOMENTS: [&str; 2] = ["optimizer.m", "optimizer.v"];
/// Tensor name of the memory, `[L, M, D]`.
const MEMORY: &str = "memory";
/// Prefix of the tensor names of the best weights so far.
const BEST: &str = "best:";

/// Version of the file's layout and of how a run continues from it.
const FORMAT_VERSION: u32 = 3;

const WARMSTART: &str = env!("CARGO_PKG_VERSION");

/// Format version of a checkpoint and the version of warmstart that wrote it. The first format had neither field, and
/// only warmstart 0.1.0 wrote it.
#[derive(Serialize, Deserialize)]
struct Version {
    format_version: Option<u32>,
    warmstart_version: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct State {
    #[serde(flatten)]
    version: Version,
    identity: Value,
    progress: Progress,
    /// Cumulative lengths of the sequences in the memory, `[B + 1]`; none without memory.
    memory: Option<Vec<u32>>,
    /// True if the best weights so far differ from the current ones and are stored too.
    has_best: bool,
}

/// Progress of a run, memory for its next batch, and the best weights so far if they differ from the current ones.
type Restored = (Progress, Option<Memory>, Option<Snapshot>);

/// Writes and reads the checkpoints of a run; the directory holds only the latest one.
pub(super) struct Checkpoints {
    directory: PathBuf,
    identity: Value,
}

impl Checkpoints {
    /// Open the checkpoint directory of a run; none if `checkpoint_dir` is not set.
    pub fn open(learner: &impl Learner, params: &Parameters, options: &TrainingOptions) -> Result<Option<Self>> {
        let Some(directory) = &options.checkpoint_dir else { return Ok(None) };
        // Report an unwritable directory before the run, not after it.
        drop(Staged::begin(directory)?);
        Ok(Some(Self { directory: directory.clone(), identity: of_run(learner, params, options)? }))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Continue with evaluations on the held-out data `now`.
    ///
    /// # Errors
    /// `Error::Training` if the earlier evaluations used other data: their losses would not be comparable.
    pub fn evaluate_on(&self, progress: &mut Progress, now: Option<Value>) -> Result<()> {
        if let Some(then) = &progress.evaluated_on
            && let Some(difference) = difference(then, now.as_ref().unwrap_or(&Value::Null))
        {
            return Err(Error::Training(format!(
                "{}: is of a run with another eval_set: {difference}. To go on, evaluate as that run did; else give another \
                 checkpoint_dir, or remove it",
                self.path().display()
            )));
        }
        progress.evaluated_on = now;
        Ok(())
    }

    /// Write a checkpoint, replacing the previous one.
    pub fn write(
        &self,
        progress: &Progress,
        memory: Option<&Memory>,
        best: Option<&Snapshot>,
        optimisation: &Optimisation,
    ) -> Result<()> {
        let memory = memory.filter(|memory| memory.cu_seqlens.last() > Some(&0));
        let state = State {
            version: Version { format_version: Some(FORMAT_VERSION), warmstart_version: Some(WARMSTART.into()) },
            identity: self.identity.clone(),
            progress: progress.clone(),
            memory: memory.map(|memory| memory.cu_seqlens.to_vec()),
            has_best: best.is_some(),
        };
        let state = serde_json::to_string(&state).map_err(|e| Error::internal(format!("checkpoint: {e}")))?;
        let memory = memory.map(|memory| Array::stack(&memory.hidden)).transpose()?;
        let trained = optimisation.trainable().iter().map(|p| (p.name.clone(), p.array.clone()));
        let moments = MOMENTS.map(String::from).into_iter().zip(optimisation.optimiser.moments().map(Array::clone));
        let memory = memory.into_iter().map(|memory| (MEMORY.to_string(), memory));
        let best = optimisation.trainable().iter().zip(best.into_iter().flatten());
        let best = best.map(|(p, array)| (format!("{BEST}{}", p.name), array.clone()));
        let arrays = trained.chain(moments).chain(memory).chain(best).collect();
        let mut staged = Staged::begin(&self.directory)?;
        let path = staged.reserve(FILE)?;
        write_safetensors(arrays, (STATE, state), &path)?;
        staged.commit(|_| Ok(Vec::new()))
    }

    /// Restore the run from the checkpoint, if there is one.
    pub fn read(&self, learning: &mut Optimisation) -> Result<Option<Restored>> {
        let path = self.path();
        if !path.is_file() {
            return Ok(None);
        }
        let bad = |what: String| Error::Training(format!("{}: {what}", path.display()));
        let file = MappedFile::open(&path)?;
        let stored = SafeTensors::deserialize(&file).map_err(|e| bad(e.to_string()))?;
        let view = |name: &str| stored.tensor(name).map_err(|e| bad(e.to_string()));
        let array = |name: &str| {
            let view = view(name)?;
            match view.dtype() {
                Dtype::F32 => Array::try_from(&view).map_err(|e| bad(format!("{name}: {e}"))),
                other => Err(bad(format!("{name} is of {other:?}, expected F32"))),
            }
        };
        let State { progress, memory, has_best, .. } =
            self.checked(&state_of(&file, &stored).map_err(|e| bad(e.to_string()))?, &bad)?;
        let [m, v] = MOMENTS.map(array);
        learning.restore(array, [m?, v?], progress.updates).map_err(|e| bad(e.to_string()))?;
        let memory = memory.map(|starts| -> Result<Memory> {
            Ok(Memory { hidden: array(MEMORY)?.entries()?, cu_seqlens: starts.into() })
        });
        let best = has_best.then(|| learning.stored(|name| array(&format!("{BEST}{name}"))));
        let best = best.transpose().map_err(|e| bad(e.to_string()))?;
        Ok(Some((progress, memory.transpose()?, best)))
    }

    /// Parse the state and check that it belongs to this run.
    fn checked(&self, state: &[u8], bad: &dyn Fn(String) -> Error) -> Result<State> {
        let unreadable = |e: serde_json::Error| bad(format!("its state cannot be read: {e}"));
        let Version { format_version, warmstart_version } = serde_json::from_slice(state).map_err(unreadable)?;
        if format_version != Some(FORMAT_VERSION) {
            let (format, writer) = (format_version.unwrap_or(1), warmstart_version.as_deref().unwrap_or("0.1.0"));
            return Err(bad(format!(
                "was written by warmstart {writer} in checkpoint format {format}, and this is warmstart {WARMSTART}, \
                 which goes on from format {FORMAT_VERSION}; finish the run with that version, or give another checkpoint_dir"
            )));
        }
        let mut state: State = serde_json::from_slice(state).map_err(unreadable)?;
        // Send `now` through JSON too: parsing a float may give its neighbour, so both sides must have been parsed.
        let mut now: Value =
            serde_json::to_vec(&self.identity).and_then(|bytes| serde_json::from_slice(&bytes)).map_err(unreadable)?;
        let weights = [take_weights(&mut state.identity), take_weights(&mut now)];
        if let Some(difference) = difference(&state.identity, &now) {
            return Err(bad(format!(
                "is of a run with another {difference}. To go on, begin as that run did; else give another checkpoint_dir, \
                 or remove it"
            )));
        }
        if weights[0] != weights[1] {
            return Err(bad(
                "is of a run that began with other weights. To go on, make the model anew, from what that run began with and \
                 with its random_state: one that has learnt since has others. Else give another checkpoint_dir, or remove it"
                    .into(),
            ));
        }
        Ok(state)
    }
}

/// Seed of the run whose checkpoint is in `directory`; none without a checkpoint of the current format.
pub fn checkpoint_seed(directory: &Path) -> Option<u64> {
    let file = MappedFile::open(&directory.join(FILE)).ok()?;
    let stored = SafeTensors::deserialize(&file).ok()?;
    let State { version, identity, .. } = serde_json::from_slice(&state_of(&file, &stored).ok()?).ok()?;
    identity[SEED].as_u64().filter(|_| version.format_version == Some(FORMAT_VERSION))
}

/// The state in a file, as JSON.
fn state_of(file: &[u8], stored: &SafeTensors) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    match header.metadata().as_ref().and_then(|all| all.get(STATE)) {
        Some(state) => Ok(state.clone().into_bytes()),
        None => Ok(stored.tensor(STATE)?.data().to_vec()),
    }
}
