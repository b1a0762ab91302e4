//! The data of pretraining: blocks of a corpus's documents, collated for an objective.

use std::ops::Range;

use serde_json::{Value, json};

use super::batches::{Batches, Groups};
use super::options::{PretrainingOptions, TrainingOptions};
use crate::backbone::{Backbone, Remember};
use crate::batch::in_order_of_length;
use crate::compute::in_pool;
use crate::corpus::{Batches as BlockBatches, Blocks, Corpus, Stretches, token};
use crate::error::{Error, Result};
use crate::head::LanguageBatch;
use crate::objective::{Collator, LanguageObjective, Sequence};
use crate::rng::{Key, Stream};
use crate::text::Role;

/// A corpus and the range of its documents to use.
pub type Documents<'a> = (&'a Corpus, Range<usize>);

/// Documents of a corpus, cut into blocks for a model.
pub struct Data<'a> {
    /// Identity of the data, for checkpoints.
    pub identity: Value,
    options: &'a PretrainingOptions,
    collator: Collator,
    blocks: Blocks,
    /// End token that is appended to a block that ends a document.
    end: Option<u32>,
    remembering: Option<Remembering>,
    /// Number of tokens of all blocks, special ones included.
    n_tokens: usize,
}

/// Which blocks continue the previous one, and how many of its tokens are kept as memory.
struct Remembering {
    stretches: Stretches,
    keep: usize,
}

impl<'a> Data<'a> {
    /// # Errors
    /// The errors of [`super::options::TrainingOptions::check`]; `Error::Data` if the corpus was made with another
    /// tokenizer; `Error::Value` if the backbone does not support the objective or `max_length`.
    pub fn new((corpus, documents): Documents, backbone: &Backbone, options: &'a PretrainingOptions) -> Result<Self> {
        options.training.check()?;
        let collator = options.objective.collator(backbone)?;
        let identity = json!({"name": corpus.name(), "tokens": corpus.n_tokens(), "documents": documents});
        let vocab_size = backbone.config.vocab_size;
        // The tokenizer may have added tokens beyond the model's vocabulary; texts rarely contain them.
        if corpus.vocab_size() > vocab_size {
            let is_beyond = |&stored: &u32| token(stored).0 as usize >= vocab_size;
            if let Some(document) = documents.clone().find(|&document| corpus.document(document).iter().any(is_beyond))
            {
                return Err(Error::Data(format!(
                    "document {document} of the corpus has an id that the model has no row for (vocab_size {vocab_size}): an \
                     added token, or the corpus was made with another tokenizer"
                )));
            }
        }
        let (most, special) = (backbone.config.max_length, collator.n_special());
        if options.max_length > most || options.max_length <= special + 1 {
            let message = format!("max_length={}: expected {} to {most}", options.max_length, special + 2);
            return Err(Error::Value(message));
        }
        let room = options.max_length - special;
        let end = || backbone.token(Role::End);
        let (blocks, end) = match options.objective {
            LanguageObjective::Causal { stream: true } => {
                let separator = end()?.ok_or_else(|| {
                    Error::Data("the tokenizer has no token that ends a text; train with CausalLM(stream=False)".into())
                })?;
                (Blocks::stream(corpus, documents, room, separator)?, None)
            }
            LanguageObjective::Causal { stream: false } => {
                let end = end()?.filter(|&end| !collator.ends_with(end));
                (Blocks::documents(corpus, documents, room - usize::from(end.is_some()))?, end)
            }
            _ => (Blocks::documents(corpus, documents, room)?, None),
        };
        let remembering = match options.objective {
            LanguageObjective::Permutation { memory: Some(0) } => None,
            LanguageObjective::Permutation { memory } => {
                Some(Remembering { stretches: Stretches::new(&blocks), keep: memory.unwrap_or(options.max_length) })
            }
            _ => None,
        };
        let n_ends = end.map_or(0, |_| (0..blocks.len()).filter(|&block| blocks.ends_document(block)).count());
        let n_tokens = blocks.n_tokens() + special * blocks.len() + n_ends;
        Ok(Self { identity, options, collator, blocks, end, remembering, n_tokens })
    }

    /// True if an evaluation predicts any token; false if all texts are too short for the objective.
    pub fn asks_when_evaluated(&self) -> Result<bool> {
        let mut asks = (0..self.blocks.len()).map(|block| Ok(self.batch_to_evaluate(&[block])?.n_asked() > 0));
        asks.find(|asks| !matches!(asks, Ok(false))).unwrap_or(Ok(false))
    }

    /// Number of tokens of a block, special ones included.
    fn len(&self, block: usize) -> usize {
        let ends = self.end.is_some() && self.blocks.ends_document(block);
        self.blocks.block_len(block) + self.collator.n_special() + usize::from(ends)
    }

    /// The micro-batches of optimiser step `step`, counted from 0.
    pub fn batches_of_step(&self, groups: &[Vec<usize>], step: usize) -> Result<Vec<LanguageBatch>> {
        let key = Key::new(self.options.training.seed, Stream::Masking).child(step as u64);
        groups.iter().map(|blocks| self.collate(blocks, key)).collect()
    }

    /// A batch for evaluation. The masking is the same each time, so that losses are comparable.
    pub fn batch_to_evaluate(&self, blocks: &[usize]) -> Result<LanguageBatch> {
        self.collate(blocks, Key::new(0, Stream::Masking))
    }

    /// Collate these blocks into a batch; random draws follow from the key and the block.
    fn collate(&self, blocks: &[usize], key: Key) -> Result<LanguageBatch> {
        let sequence = |&block: &usize| {
            let mut tokens = Vec::with_capacity(self.len(block));
            self.blocks.read(block, &mut tokens);
            tokens.extend(self.end.filter(|_| self.blocks.ends_document(block)));
            let (ids, continues) = tokens.into_iter().map(token).unzip();
            (Sequence { ids, continues }, key.child(block as u64))
        };
        let batch = self.collator.collate(&blocks.iter().map(sequence).collect::<Vec<_>>())?;
        let remember = self.remembering.as_ref().map(|Remembering { stretches, keep }| {
            let goes_on = blocks.iter().enumerate().filter(|&(_, &block)| stretches.goes_on(block));
            let sequences = goes_on.map(|(i, &block)| (i, self.collator.own_tokens(self.len(block))));
            Remember { sequences: sequences.collect(), keep: *keep }
        });
        Ok(LanguageBatch { remember, ..batch })
    }

    /// Number of tokens carried as memory from a batch of these blocks to the next.
    pub fn remembered(&self, blocks: &[usize]) -> usize {
        let Some(Remembering { stretches, keep }) = &self.remembering else { return 0 };
        let goes_on = blocks.iter().filter(|&&block| stretches.goes_on(block));
        let so_far = |&block: &usize| self.tokens(&(stretches.start(block)..=block).collect::<Vec<_>>());
        goes_on.map(|block| so_far(block).min(*keep)).sum()
    }

    /// All blocks, in batches of similar length.
    pub fn by_length(&self) -> Groups {
        let lengths: Vec<_> = (0..self.blocks.len()).map(|block| self.len(block)).collect();
        in_order_of_length(&lengths, self.options.training.batch_tokens)
    }
}

impl Batches for Data<'_> {
    /// Steps are made lazily: a corpus may have very many.
    fn steps(&self, epoch: usize) -> Box<dyn Iterator<Item = Groups> + Send + '_> {
        let special = self.collator.n_special() + usize::from(self.end.is_some());
        let TrainingOptions { seed, batch_tokens: budget, accumulation_steps, .. } = self.options.training;
        let (blocks, epoch) = (&self.blocks, epoch as u64);
        let mut batches: Box<dyn Iterator<Item = Vec<usize>> + Send + '_> = match &self.remembering {
            Some(Remembering { stretches, .. }) => Box::new(stretches.batches(blocks, seed, epoch, budget, special)),
            None => Box::new(BlockBatches::new(blocks, seed, epoch, budget, special)),
        };
        Box::new(std::iter::from_fn(move || {
            let step: Groups = batches.by_ref().take(accumulation_steps).collect();
            (!step.is_empty()).then_some(step)
        }))
    }

    fn tokens(&self, batch: &[usize]) -> usize {
        batch.iter().map(|&block| self.len(block)).sum()
    }

    fn tokens_of_epoch(&self) -> usize {
        self.n_tokens
    }
}

/// The batches of a run, so that another library can be trained on the same ones: one list per optimiser step (without
/// the memory carried between steps), or a single list with the batches of an evaluation on these documents.
pub fn pretraining_batches(
    backbone: &Backbone,
    documents: Documents,
    options: &PretrainingOptions,
    evaluation: bool,
) -> Result<Vec<Vec<LanguageBatch>>> {
    let (data, training) = (Data::new(documents, backbone, options)?, &options.training);
    if evaluation {
        let batches = || data.by_length().iter().map(|blocks| data.batch_to_evaluate(blocks)).collect::<Result<_>>();
        return Ok(vec![in_pool(batches)?]);
    }
    let epochs = training.max_steps.map_or(training.epochs, |_| usize::MAX);
    let steps = (0..epochs).flat_map(|epoch| data.steps(epoch)).take(training.max_steps.unwrap_or(usize::MAX));
    in_pool(|| steps.enumerate().map(|(step, groups)| data.batches_of_step(&groups, step)).collect())
}
