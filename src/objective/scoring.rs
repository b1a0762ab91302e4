//! Score texts with a language model: the log probability of each token, and the likeliest tokens at masked positions.

use std::sync::Arc;

use super::causal::next_tokens;
use crate::backbone::{Backbone, Capabilities, Context, Prediction, check_finite};
use crate::batch::{PackedBatch, in_order_of_length};
use crate::compute::in_pool;
use crate::error::{Error, Result};
use crate::head::{LanguageBatch, LanguageModel};
use crate::matmul::Precision;
use crate::text::{Encodings, Role};

/// How the scored token is hidden from the model.
enum Hiding {
    /// Causal: a token does not attend to later ones.
    Causal,
    /// The token is replaced by the mask token of this id.
    Mask(u32),
    /// Permutation: no other token sees it, and the query that predicts it sees all the others.
    Permutation,
}

impl Hiding {
    fn of(backbone: &Backbone) -> Result<Self> {
        let Capabilities { causal, permutation, .. } = backbone.config.capabilities;
        Ok(match (causal, permutation) {
            (true, _) => Self::Causal,
            (false, true) => Self::Permutation,
            (false, false) => Self::Mask(mask_of(backbone)?),
        })
    }
}

fn mask_of(backbone: &Backbone) -> Result<u32> {
    backbone.token(Role::Mask)?.ok_or_else(|| Error::Data("the tokenizer has no mask token".into()))
}

/// A text and the position of the token to score in it.
type Question = (usize, usize);

/// Log probability of each token of each text, none where it is undefined. A causal model conditions on the tokens
/// before, which leaves out the first one; other models condition on all other tokens, with one pass per token
/// (pseudo-log-likelihood, Salazar et al. 2020), which leaves out special tokens wherever they stand. The unknown token
/// is never scored. `progress` gets the number of tokens done and may stop the work.
pub fn token_scores(
    model: &LanguageModel,
    encodings: &Encodings,
    batch_tokens: usize,
    precision: Precision,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<Option<f32>>>> {
    let network = model.network(precision)?;
    let hiding = Hiding::of(&model.backbone)?;
    let frame = model.backbone.tokenizer.frame()?;
    let lengths = encodings.lengths();
    let mut scores: Vec<Vec<Option<f32>>> = lengths.iter().map(|&n| vec![None; n]).collect();
    let own = |text: usize| frame.before.len()..(lengths[text] - frame.after.len().min(lengths[text]));
    let (special, unknown) = (model.backbone.tokenizer.special_ids(), model.backbone.tokenizer.unknown_id());
    let is_asked = |&(text, token): &Question| special.binary_search(&encodings.ids(text)[token]).is_err();
    let questions: Vec<Question> = match hiding {
        Hiding::Causal => (0..lengths.len()).map(|text| (text, 0)).collect(),
        _ => (0..lengths.len()).flat_map(|text| own(text).map(move |token| (text, token))).filter(is_asked).collect(),
    };
    let mut done = 0;
    for batch in in_order_of_length(&questions.iter().map(|q| lengths[q.0]).collect::<Vec<_>>(), batch_tokens) {
        let asked: Vec<Question> = batch.iter().map(|&i| questions[i]).collect();
        let batch = ask(encodings, &asked, &hiding, unknown)?;
        let losses = in_pool(|| network.losses(&batch))?;
        check_finite(&losses.iter().copied().flatten().collect::<Vec<f32>>(), || model.params())?;
        match hiding {
            Hiding::Causal => {
                let mut losses = losses.into_iter();
                for &(text, _) in &asked {
                    // Each row scores the next token.
                    for score in scores[text].iter_mut().skip(1) {
                        *score = losses.next().flatten().map(|loss| -loss);
                    }
                    losses.next();
                }
            }
            _ => asked.iter().zip(losses).for_each(|(&(text, token), loss)| {
                scores[text][token] = loss.map(|loss| -loss);
            }),
        }
        done += batch.packed.n_tokens();
        progress(done)?;
    }
    Ok(scores)
}

/// The `top` likeliest tokens for each mask of a text: ids with their probabilities, the best first.
pub fn fill_masks(
    model: &LanguageModel,
    encodings: &Encodings,
    text: usize,
    top: usize,
    precision: Precision,
) -> Result<Vec<Vec<(u32, f32)>>> {
    let hiding = Hiding::of(&model.backbone)?;
    if matches!(hiding, Hiding::Causal) {
        let class = model.backbone.config.class("Model");
        return Err(Error::Value(format!("{class} sees what came before alone and fills no masks; use generate()")));
    }
    let mask = mask_of(&model.backbone)?;
    let ids = encodings.ids(text);
    let places: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == mask).collect();
    if places.is_empty() {
        let token = model.backbone.tokenizer.decode(&[vec![mask]], false)?.concat();
        let cut = match encodings.n_truncated() {
            0 => String::new(),
            _ => format!(", and texts were cut at {} tokens: it may stand behind", encodings.max_length()),
        };
        return Err(Error::Value(format!(
            "texts[{text}] has no mask token; write {token} where one is asked for{cut}"
        )));
    }
    let packed = PackedBatch::collate(encodings, vec![text]);
    let (mut context, mut rows) = (Context::default(), places.iter().map(|&i| i as u32).collect::<Arc<[u32]>>());
    if let Hiding::Permutation = hiding {
        let n = ids.len();
        let hidden = (0..n * n).map(|at| places.contains(&(at % n))).collect();
        let cu_seqlens = Arc::from([0, places.len() as u32]);
        context.prediction = Some(Prediction { positions: rows, cu_seqlens, hidden });
        rows = context.rows(&packed)?.predictions;
    }
    let network = model.network(precision)?;
    let logits = in_pool(|| network.logits(&packed, &context, Some(rows)))?;
    let logits = logits.array().values()?;
    check_finite(&logits, || model.params())?;
    let rows = logits.chunks_exact(model.backbone.config.vocab_size);
    Ok(rows.map(|row| crate::head::likeliest(row, top)).collect())
}

/// A batch with one sequence per question.
fn ask(encodings: &Encodings, asked: &[Question], hiding: &Hiding, unknown: Option<u32>) -> Result<LanguageBatch> {
    let mut texts = Vec::with_capacity(asked.len());
    let (mut labels, mut rows, mut first, mut hidden) = (Vec::new(), Vec::new(), 0, Vec::new());
    for &(text, token) in asked {
        let (mut ids, segments) = (encodings.ids(text).to_vec(), encodings.segments(text).to_vec());
        let n = ids.len();
        match hiding {
            Hiding::Causal => labels.extend(next_tokens(&ids, unknown)),
            Hiding::Mask(mask) => {
                labels.push(Some(std::mem::replace(&mut ids[token], *mask)));
                rows.push((first + token) as u32);
            }
            Hiding::Permutation => {
                labels.push(Some(ids[token]));
                hidden.extend((0..n * n).map(|at| at % n == token));
            }
        }
        first += n;
        texts.push((ids, segments));
    }
    let packed = PackedBatch::collate(&Encodings::from_ids(&texts), (0..texts.len()).collect());
    let mut context = Context::default();
    let rows = match hiding {
        Hiding::Causal => None,
        Hiding::Mask(_) => Some(rows.into()),
        Hiding::Permutation => {
            context.prediction = Some(Prediction {
                positions: asked.iter().map(|&(_, token)| token as u32).collect(),
                cu_seqlens: (0..=asked.len() as u32).collect(),
                hidden: hidden.into(),
            });
            Some(context.rows(&packed)?.predictions)
        }
    };
    Ok(LanguageBatch { packed, context, rows, labels, remember: None })
}
