//! Pretrained transformers: configuration, families, parameters, weights in and out, forward pass.

mod block;
mod config;
mod embed;
mod extend;
mod families;
mod family;
mod fields;
mod layers;
mod mode;
mod parameters;
mod pickle;
mod pretrained;
mod relative;
mod rotary_options;
mod shard;
mod shards;
mod torch_file;
mod transformer;
mod weights;

pub use crate::kernels::attention::Cache;
pub use config::Config;
pub use embed::{Pooling, collect_rows};
pub(crate) use family::HeadOptions;
pub use family::Task;
pub(crate) use layers::{Linear, Map, Norm, NormMap};
pub use mode::Mode;
pub use parameters::{Init, Parameters, Spec, initialise};
pub use pretrained::Backbone;
pub(crate) use pretrained::{METADATA, replaced_files, same_values, stage_common};
pub use relative::{Context, Memory, Prediction, Rows};
pub(crate) use shards::stage_weights;
pub use transformer::Transformer;
pub(crate) use transformer::depth;
pub(crate) use weights::write_safetensors;
pub use weights::{Checkpoint, LoadReport, WEIGHT_FILES};
