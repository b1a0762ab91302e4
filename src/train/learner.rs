//! What the trainer trains: parameters, batches of data, and the losses of a batch.

use serde_json::Value as Json;

use super::batches::{Batches, Groups};
use super::monitor::Monitor;
use crate::autograd::Value;
use crate::backbone::{Memory, Mode, Parameters};
use crate::error::{Error, Result};

/// What an evaluation found.
pub(super) struct Found {
    pub loss: f64,
    /// What the monitor scores, row-major; empty where it scores the loss.
    pub outputs: Vec<f32>,
}

/// A model with its data and its objective.
pub(super) trait Learner: Sync {
    /// The trained function.
    type Network: Sync;
    /// The data of an optimiser step, and what its batches have in common.
    type Step: Send;

    /// True if the best evaluation is that of the smallest loss; else of the highest score, of equal ones of the smaller
    /// loss.
    const BEST_BY_LOSS: bool;

    /// From all parameters, compute once what training does not change.
    fn precompute(&mut self, _: &Parameters, _: &mut dyn Monitor) -> Result<()> {
        Ok(())
    }
    fn batches(&self) -> &dyn Batches;
    /// From parameters; those that are trained receive gradients.
    fn network(&self, params: &Parameters) -> Result<Self::Network>;
    /// The data of the `number`th step from 0 on.
    fn step(&self, groups: &Groups, number: usize) -> Result<Self::Step>;
    /// False if nothing is asked in a step, so that there is nothing to learn from it.
    fn asks(step: &Self::Step) -> bool;
    /// Losses of a batch, whose sum over those of a step is the step's; none where nothing is asked. `memory` is what the
    /// batch before left, and what this one leaves.
    fn losses(
        &self,
        network: &Self::Network,
        step: &mut Self::Step,
        batch: usize,
        mode: Mode,
        memory: &mut Option<Memory>,
    ) -> Result<Vec<Value>>;
    /// Pass through all that is held out; none where nothing is.
    fn evaluate(&self, network: &Self::Network, monitor: &mut dyn Monitor) -> Result<Option<Found>>;
    /// Where no step asks anything.
    fn nothing_asked(&self) -> Error;
    /// What must be the same for a run to go on from a checkpoint, beside starting weights and options: model and data.
    fn identity(&self) -> Json;
    /// What is held out, so that evaluations before and after a checkpoint are of the same; none where nothing is.
    fn held_out(&self) -> Option<Json>;
}
