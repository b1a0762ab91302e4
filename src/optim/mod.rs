//! From gradients to new parameter values.

mod adamw;
mod gradients;
mod schedule;

pub use adamw::{AdamW, Trainable};
pub use gradients::{Gradients, is_finite};
pub use schedule::{Schedule, ScheduleKind};
