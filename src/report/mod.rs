//! The reports of a run, as plain data.

mod curve;
pub(crate) mod exact;
mod record;
mod summary;

pub use curve::{Curve, Point};
pub use record::{Evaluation, Facts, Record, Row};
pub use summary::Summary;
