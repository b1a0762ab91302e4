//! Optimiser: updates parameters from their gradients.

mod adamw;
mod gradients;
mod options;
mod schedule;
mod trainable;

pub use adamw::AdamW;
pub use gradients::{Gradients, is_finite};
pub use options::OptimizerOptions;
pub use schedule::{Schedule, ScheduleKind};
pub use trainable::Trainable;
