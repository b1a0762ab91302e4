//! What a run says of itself: plain data.

/// Known before the first step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub total_steps: usize,
    pub total_tokens: usize,
    /// Of a run that goes on from a checkpoint.
    pub tokens_done: usize,
    pub steps_per_epoch: usize,
    pub batch_tokens: usize,
    pub trainable_parameters: usize,
    pub parameters: usize,
}

/// The state after an optimiser step. Tokens and time count from the start of training, evaluation excluded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    pub step: usize,
    pub epoch: f64,
    pub loss: f64,
    pub learning_rate: f64,
    pub grad_norm: f64,
    pub tokens: usize,
    pub elapsed_s: f64,
}

/// Known after the last step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub last: Record,
    pub best_step: Option<usize>,
    pub best_score: Option<f64>,
    /// Breaks ties of the score.
    pub best_loss: Option<f64>,
    pub stopped_early: bool,
}
