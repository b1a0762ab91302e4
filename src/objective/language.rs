//! Language-modelling objectives: how a few sequences are made into a batch, and which models support which objective.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::causal::next_tokens;
use super::masked::{MaskedLM, Unit};
use super::permutation::Permutation;
use crate::backbone::{Backbone, Capabilities, Context, Prediction};
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::head::LanguageBatch;
use crate::rng::Key;
use crate::text::{Encodings, Frame, Role};

/// The training objective of a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LanguageObjective {
    /// Predict each token from those before it. With `stream`, documents are concatenated; else they do not see each
    /// other.
    Causal { stream: bool },
    /// Predict masked tokens from those around them.
    Masked { rate: f64, unit: Unit },
    /// Detect which tokens a generator has substituted for masked ones; the loss is the generator's own plus `weight`
    /// times the detector's (ELECTRA).
    Replaced { rate: f64, weight: f64 },
    /// Predict tokens in a random order, each from those before it in this order (XLNet). Sequences also see up to
    /// `memory` tokens of their document before them; none: as many as a sequence has.
    Permutation { memory: Option<usize> },
}

/// Collates sequences into batches with labels.
pub struct Collator {
    frame: Frame,
    /// Ids of special tokens, sorted; a text may contain them too.
    special: Vec<u32>,
    /// Id of the unknown token, if there is one; it is never a label.
    unknown: Option<u32>,
    corruption: Corruption,
}

enum Corruption {
    Causal,
    Masked(MaskedLM),
    Permutation,
}

impl LanguageObjective {
    /// The collator for a backbone. The error for an unsupported objective names those that the backbone supports.
    pub fn collator(&self, backbone: &Backbone) -> Result<Collator> {
        let (config, tokenizer) = (&backbone.config, &backbone.tokenizer);
        let Capabilities { masked, causal, permutation } = config.capabilities;
        let serves = match self {
            Self::Causal { .. } => causal,
            Self::Masked { .. } | Self::Replaced { .. } => masked,
            Self::Permutation { .. } => permutation,
        };
        if !serves {
            let (can, which) = match (causal, permutation) {
                (true, _) => ("sees what came before alone", "CausalLM()"),
                (_, true) => ("has two streams", "PermutationLM()"),
                _ => ("sees every token", "MaskedLM() or ReplacedTokenDetection()"),
            };
            return Err(Error::Value(format!(
                "objective: {} {can}; it can be trained with {which}",
                config.class("Model").trim_end_matches("Model")
            )));
        }
        let special = tokenizer.special_ids();
        let corruption = match self {
            Self::Causal { .. } => Corruption::Causal,
            Self::Permutation { .. } => Corruption::Permutation,
            Self::Masked { .. } | Self::Replaced { .. } => {
                let (rate, unit) = match self {
                    Self::Masked { rate, unit } => (rate, unit),
                    Self::Replaced { rate, weight } if *weight > 0.0 && weight.is_finite() => (rate, &Unit::Token),
                    _ => return Err(Error::Value("weight: expected a positive number".into())),
                };
                let mask = backbone.token(Role::Mask)?;
                let mask = mask.ok_or_else(|| Error::Data("the tokenizer has no mask token".into()))?;
                // Added tokens may have ids beyond the model's embedding table.
                let vocab_size = tokenizer.vocab_size().min(config.vocab_size);
                let known = special.partition_point(|&id| (id as usize) < vocab_size);
                Corruption::Masked(MaskedLM::new(*rate, *unit, mask, vocab_size, &special[..known])?)
            }
        };
        Ok(Collator { frame: tokenizer.frame()?, special, unknown: tokenizer.unknown_id(), corruption })
    }
}

/// A sequence of a corpus: token ids, and whether each token continues the word of the previous one.
pub struct Sequence {
    pub ids: Vec<u32>,
    pub continues: Vec<bool>,
}

impl Collator {
    /// Number of special tokens added to each sequence.
    pub fn n_special(&self) -> usize {
        self.frame.len()
    }

    /// True if the special tokens added to the end of each sequence include this one.
    pub fn ends_with(&self, id: u32) -> bool {
        self.frame.after.iter().any(|&(after, _)| after == id)
    }

    /// Range of a sequence's own tokens, without the added special ones, among its `n` tokens.
    pub fn own_tokens(&self, n: usize) -> std::ops::Range<u32> {
        let own = self.frame.before.len()..n.saturating_sub(self.frame.after.len());
        own.start as u32..own.end as u32
    }

    /// Collate sequences into a batch; each has its own key for random draws.
    pub fn collate(&self, sequences: &[(Sequence, Key)]) -> Result<LanguageBatch> {
        let (before, after) = (&self.frame.before, &self.frame.after);
        let mut texts = Vec::with_capacity(sequences.len());
        let (mut labels, mut rows, mut first) = (Vec::new(), Vec::new(), 0u32);
        let (mut positions, mut starts, mut hidden) = (Vec::new(), vec![0u32], Vec::new());
        for (sequence, key) in sequences {
            let own = sequence.ids.iter().map(|&id| (id, self.frame.segment));
            let framed = before.iter().copied().chain(own).chain(after.iter().copied());
            let (mut ids, segments): (Vec<u32>, Vec<u8>) = framed.unzip();
            let is_special: Vec<bool> = std::iter::repeat_n(true, before.len())
                .chain(sequence.ids.iter().map(|id| self.special.binary_search(id).is_ok()))
                .chain(std::iter::repeat_n(true, after.len()))
                .collect();
            match &self.corruption {
                Corruption::Causal => labels.extend(next_tokens(&ids, self.unknown)),
                Corruption::Masked(masking) => {
                    let none = |n| std::iter::repeat_n(false, n);
                    let continues =
                        none(before.len()).chain(sequence.continues.iter().copied()).chain(none(after.len()));
                    let masked = masking.apply(&ids, &continues.collect::<Vec<_>>(), &is_special, *key)?;
                    ids = masked.ids;
                    for (i, label) in masked.labels.into_iter().enumerate().filter(|(_, label)| label.is_some()) {
                        labels.push(label);
                        rows.push(first + i as u32);
                    }
                }
                Corruption::Permutation => {
                    let permutation = Permutation::draw(&is_special, *key);
                    labels.extend(permutation.targets.iter().map(|&target| Some(ids[target as usize])));
                    hidden.extend(permutation.hidden());
                    positions.extend(permutation.targets);
                    starts.push(positions.len() as u32);
                }
            }
            first += ids.len() as u32;
            texts.push((ids, segments));
        }
        let packed = PackedBatch::collate(&Encodings::from_ids(&texts), (0..texts.len()).collect());
        let mut context = Context::default();
        let rows: Option<Arc<[u32]>> = match &self.corruption {
            Corruption::Causal => None,
            Corruption::Masked(_) => Some(rows.into()),
            Corruption::Permutation => {
                context.prediction =
                    Some(Prediction { positions: positions.into(), cu_seqlens: starts.into(), hidden: hidden.into() });
                Some(context.rows(&packed)?.predictions)
            }
        };
        Ok(LanguageBatch { packed, context, rows, labels, remember: None })
    }
}
