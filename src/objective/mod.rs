//! Pretraining objectives: how labels and inputs are made from a sequence of tokens.
//!
//! They are pure functions of one sequence and a key: `ids`, with special tokens in place; where needed `special`, true
//! for special tokens, and `continues`, true for tokens that continue the word of the previous token. A separate key
//! for each sequence and each time it is seen makes the draws reproducible in any order.

mod causal;
mod language;
mod masked;
mod permutation;
mod replaced;
mod scoring;

#[cfg(test)]
pub use causal::next_tokens;
pub use language::{Collator, LanguageObjective, Sequence};
pub use masked::Unit;
#[cfg(test)]
pub use masked::{Masked, MaskedLM};
#[cfg(test)]
pub use permutation::Permutation;
pub use replaced::sample;
pub use scoring::{fill_masks, token_scores};
