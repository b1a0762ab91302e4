//! Pretrained transformers: configuration, parameters, weights in and out, forward pass.

mod bert;
mod config;
mod embed;
mod extend;
mod layers;
mod mode;
mod parameters;
mod pickle;
mod pretrained;
mod shard;
mod shards;
mod torch_file;
mod weights;

pub use bert::Bert;
pub(crate) use bert::depth;
pub use config::Config;
pub use embed::{Pooling, collect_rows};
pub(crate) use layers::{Linear, linear_specs};
pub use mode::Mode;
pub use parameters::{Init, Parameters, Spec, initialise};
pub use pretrained::Backbone;
pub(crate) use pretrained::{METADATA, is_pooler, replaced_files, same_values, stage_common};
pub(crate) use shards::stage_weights;
pub use weights::{Checkpoint, LoadReport, WEIGHT_FILES};
