//! Strategy -> plan -> steps -> evaluation -> fitted model.

mod fit;
mod monitor;
mod network;
mod plan;
mod run;
mod strategy;

pub use fit::{Dataset, FitOptions, Outcome, fit};
pub use monitor::Monitor;
pub use plan::{ParameterPlan, Plan};
pub use strategy::{Method, Strategy};
