//! The batches that a run of pretraining sees, so that another library can be trained on the same ones.

use super::batches::Batches;
use super::options::PretrainingOptions;
use super::pretraining::Setup;
use super::pretraining_data::Documents;
use crate::backbone::Backbone;
use crate::compute::in_pool;
use crate::error::Result;
use crate::head::LanguageBatch;

/// Those of each optimiser step of a run on `documents` of a corpus, the run's `epochs` or `max_steps` long. What a sequence
/// remembers of the step before is not in them.
pub fn training_batches(
    backbone: &Backbone,
    documents: Documents,
    options: &PretrainingOptions,
) -> Result<Vec<Vec<LanguageBatch>>> {
    let Setup { collator, train: data, .. } = Setup::new(backbone, documents, None, options)?;
    let PretrainingOptions { training, .. } = options;
    let epochs = training.max_steps.map_or(training.epochs, |_| usize::MAX);
    let steps = (0..epochs).flat_map(|epoch| data.steps(epoch));
    let steps = steps.take(training.max_steps.unwrap_or(usize::MAX)).enumerate();
    in_pool(|| steps.map(|(step, groups)| data.batches_of_step(&collator, &groups, step)).collect())
}

/// Those of each evaluation on `documents`.
pub fn batches_to_evaluate(
    backbone: &Backbone,
    documents: Documents,
    options: &PretrainingOptions,
) -> Result<Vec<LanguageBatch>> {
    let Setup { collator, train: data, .. } = Setup::new(backbone, documents, None, options)?;
    in_pool(|| {
        let batches = data.by_length();
        batches.iter().map(|blocks| data.batch_to_evaluate(&collator, blocks)).collect()
    })
}
