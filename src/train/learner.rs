//! The interface of the training loop: parameters, batches of data, and the losses of a batch.

use serde_json::Value as Json;

use super::batches::{Batches, Groups};
use super::monitor::Monitor;
use crate::autograd::Var;
use crate::backbone::{Memory, Mode, Parameters};
use crate::error::{Error, Result};

/// Result of an evaluation.
pub(super) struct Found {
    pub loss: f64,
    /// Outputs for the monitor to score, row-major `[N, C]`; empty if the score is the loss.
    pub outputs: Vec<f32>,
}

/// A model with its data and its training objective.
pub(super) trait Learner: Sync {
    /// The network that is trained.
    type Network: Sync;
    /// The data of an optimiser step and the state that its micro-batches share.
    type Step: Send;

    /// True if the best evaluation has the smallest loss; else it has the highest score, and among equal scores the
    /// smaller loss.
    const BEST_BY_LOSS: bool;

    /// Compute once, from all parameters, whatever training does not change.
    fn precompute(&mut self, _: &Parameters, _: &mut dyn Monitor) -> Result<()> {
        Ok(())
    }
    fn batches(&self) -> &dyn Batches;
    /// Build the network from parameters; the trained ones receive gradients.
    fn network(&self, params: &Parameters) -> Result<Self::Network>;
    /// The data of optimiser step `number`, counted from 0.
    fn step(&self, groups: &Groups, number: usize) -> Result<Self::Step>;
    /// False if the step has no labels, so that there is nothing to learn from it.
    fn asks(step: &Self::Step) -> bool;
    /// Loss terms of one micro-batch, scaled so that they sum to the step's loss; empty if the step has no labels.
    /// `memory` holds the hidden states carried over from the previous batch, and afterwards those for the next.
    fn losses(
        &self,
        network: &Self::Network,
        step: &mut Self::Step,
        batch: usize,
        mode: Mode,
        memory: &mut Option<Memory>,
    ) -> Result<Vec<Var>>;
    /// Evaluate on the held-out data; none without such data.
    fn evaluate(&self, network: &Self::Network, monitor: &mut dyn Monitor) -> Result<Option<Found>>;
    /// The error if no step of the run has any labels.
    fn nothing_asked(&self) -> Error;
    /// Identity of model and data, which must match, besides starting weights and options, to resume from a checkpoint.
    fn identity(&self) -> Json;
    /// Identity of the held-out data, to ensure that evaluations before and after a checkpoint use the same; none
    /// without such data.
    fn held_out(&self) -> Option<Json>;
}
