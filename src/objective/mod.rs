//! What a model is trained towards: losses, and what is made of a sequence of tokens so that it can be learnt from.
//!
//! The latter are pure functions of one sequence and a key: `ids`, with special tokens in their places; where asked for,
//! `special`, true for those tokens, and `continues`, true for tokens that continue the word of the token before. A key for
//! each sequence and time that it is seen makes them reproducible in any order.

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
