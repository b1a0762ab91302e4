//! Causal language modelling: each token predicts the next one.

/// Label of each token of a sequence: the next token; none for the last token, and none if the next one is the unknown
/// token, which stands for any word. Call it once per sequence of a batch, so that no sequence predicts the first token
/// of another.
pub fn next_tokens(ids: &[u32], unknown: Option<u32>) -> Vec<Option<u32>> {
    let next = ids.iter().skip(1).map(|&id| Some(id).filter(|_| unknown != Some(id)));
    next.chain([None]).take(ids.len()).collect()
}
