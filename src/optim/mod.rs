//! From gradients to new parameter values.

mod adamw;
mod gradients;
mod schedule;

pub use adamw::{AdamW, Trainable};
pub use gradients::Gradients;
pub use schedule::{Schedule, ScheduleKind};
