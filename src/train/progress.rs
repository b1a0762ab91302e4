//! Progress of a run and its history so far.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{Curve, Evaluation, Record, Row, exact};

/// Progress of a run and its history so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Optimiser steps done.
    pub step: usize,
    /// Epochs done, and the steps and tokens done in the current epoch.
    pub epochs: usize,
    pub steps_of_epoch: usize,
    pub tokens_of_epoch: usize,
    pub tokens: usize,
    /// True once the last step is done.
    pub is_complete: bool,
    /// Sum and number of the losses since the last row.
    #[serde(with = "exact")]
    pub loss_sum: f64,
    pub losses: usize,
    /// Number of optimiser updates; steps without any labels make none.
    pub updates: usize,
    pub last: Record,
    pub rows: Vec<Row>,
    pub curve: Curve,
    /// Identity of the held-out data and the metric that the rows were evaluated with.
    pub evaluated_on: Option<Value>,
}

impl Progress {
    /// The best evaluation: the one of smallest loss if `by_loss`, else of highest score and among equal scores of
    /// smaller loss; the first among equals.
    pub fn best(&self, by_loss: bool) -> Option<(&Record, &Evaluation)> {
        let evaluated = self.rows.iter().filter_map(|row| Some((&row.record, row.evaluation.as_ref()?)));
        let score = |found: &Evaluation| if by_loss { 0.0 } else { -found.score };
        evaluated.min_by(|(_, a), (_, b)| score(a).total_cmp(&score(b)).then(a.loss.total_cmp(&b.loss)))
    }

    /// Number of evaluations since the best one.
    pub fn since_best(&self, by_loss: bool) -> usize {
        let best = self.best(by_loss).map_or(0, |(record, _)| record.step);
        self.rows.iter().filter(|row| row.evaluation.is_some() && row.record.step > best).count()
    }

    /// The last record, with the mean loss since the previous call.
    pub fn mean_record(&mut self) -> Record {
        let (sum, n) = (std::mem::take(&mut self.loss_sum), std::mem::take(&mut self.losses));
        Record { loss: sum / n.max(1) as f64, ..self.last.clone() }
    }
}
