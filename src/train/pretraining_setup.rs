//! What a run of pretraining begins with, its options checked: to train, to foretell its memory, to show its batches.

use std::ops::Range;

use super::pretraining_data::Data;
use super::pretraining_options::PretrainOptions;
use super::strategy::Strategy;
use crate::backbone::Backbone;
use crate::corpus::Corpus;
use crate::error::Result;
use crate::objective::Collator;

/// A corpus and which of its documents.
pub type Documents<'a> = (&'a Corpus, Range<usize>);

pub(super) struct Setup {
    pub strategy: Strategy,
    pub collator: Collator,
    pub train: Data,
    pub eval: Option<Data>,
}

impl Setup {
    /// # Errors
    /// As [`PretrainOptions::check`] and [`Data::new`] have them; `Error::Value` if the backbone cannot serve the objective.
    pub fn new(
        backbone: &Backbone,
        train: Documents,
        eval: Option<Documents>,
        options: &PretrainOptions,
    ) -> Result<Self> {
        options.check()?;
        let strategy = Strategy::parse(options.strategy.clone())?;
        let collator = options.objective.collator(backbone)?;
        let data = |documents| Data::new(documents, backbone, &collator, options);
        let (train, eval) = (data(train)?, eval.map(data).transpose()?);
        Ok(Self { strategy, collator, train, eval })
    }
}
