//! Causal language modelling: each token is asked for the one after it.

/// The label of each token of a sequence: the token after it, none for the last, nor where that is the unknown one, which
/// stands for any word. Sequences that lie in one batch are given one by one, so that none is asked for the begin of another.
pub fn next_tokens(ids: &[u32], unknown: Option<u32>) -> Vec<Option<u32>> {
    let next = ids.iter().skip(1).map(|&id| Some(id).filter(|_| unknown != Some(id)));
    next.chain([None]).take(ids.len()).collect()
}
