//! From gradients to new parameter values.

mod adamw;
mod gradients;
mod schedule;
mod trainable;

pub use adamw::AdamW;
pub use gradients::{Gradients, is_finite};
pub use schedule::{Schedule, ScheduleKind};
pub use trainable::Trainable;
