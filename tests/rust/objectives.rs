//! What objectives make of a sequence: their distributions, within five standard errors, and what holds for every draw.

use std::collections::HashSet;

use warmstart::objective::{Masked, MaskedLM, Permutation, Unit, next_tokens, sample};
use warmstart::rng::{Key, Stream};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const MASK: u32 = 3;
const SPECIAL: [u32; 4] = [0, 3, 7, 49];
const VOCABULARY: usize = 50;

/// Check how many of `n` independent draws had something whose probability is `p`.
fn assert_share(what: &str, count: usize, n: usize, p: f64) {
    let (share, error) = (count as f64 / n as f64, (p * (1.0 - p) / n as f64).sqrt());
    assert!((share - p).abs() <= 5.0 * error, "{what}: {share} of {n}, expected {p} +- {error}");
}

/// Check a mean against one with a standard error of its own.
fn assert_mean(what: &str, values: &[f64], mean: f64, error: f64) {
    let n = values.len() as f64;
    let got = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - got).powi(2)).sum::<f64>() / n;
    let error = (variance / n + error * error).sqrt();
    assert!((got - mean).abs() <= 5.0 * error, "{what}: {got}, expected {mean} +- {error}");
}

/// A sequence with special tokens at both ends and in the middle, and words of one to four tokens.
struct Text {
    ids: Vec<u32>,
    continues: Vec<bool>,
    special: Vec<bool>,
}

impl Text {
    /// Two parts of `words` words.
    fn new(words: usize) -> Self {
        let mut text = Self { ids: vec![7], continues: vec![false], special: vec![true] };
        for part in 0..2 {
            for word in 0..words {
                for token in 0..=(word * 5 + part) % 7 % 4 {
                    // None of the special ones.
                    text.ids.push(10 + (word * 13 + token) as u32 % 30);
                    text.continues.push(token > 0);
                    text.special.push(false);
                }
            }
            // Some tokenizers say of a special token that it continues a word; it does not matter.
            text.ids.push(49);
            text.continues.push(part == 0);
            text.special.push(true);
        }
        text
    }

    fn mask(&self, model: &MaskedLM, draw: u64) -> warmstart::error::Result<Masked> {
        model.apply(&self.ids, &self.continues, &self.special, Key::new(5, Stream::Masking).child(draw))
    }

    fn n_ordinary(&self) -> usize {
        self.special.iter().filter(|special| !**special).count()
    }

    /// The words as ranges of tokens, an empty one for each special token.
    fn words(&self) -> Vec<std::ops::Range<usize>> {
        let mut words: Vec<std::ops::Range<usize>> = Vec::new();
        for i in 0..self.ids.len() {
            match words.last_mut() {
                _ if self.special[i] => words.push(i..i),
                Some(word) if self.continues[i] && word.start < word.end => word.end = i + 1,
                _ => words.push(i..i + 1),
            }
        }
        words
    }
}

fn model(unit: Unit) -> warmstart::error::Result<MaskedLM> {
    MaskedLM::new(0.15, unit, MASK, VOCABULARY, &SPECIAL)
}

#[test]
fn masking_when_drawn_often_chooses_every_token_at_the_rate() -> Outcome {
    let (text, draws) = (Text::new(60), 5000);
    let last = text.ids.len() - 2;
    for unit in [Unit::Token, Unit::Word, Unit::Span] {
        let model = model(unit)?;
        let (mut chosen, mut shares) = (vec![0; text.ids.len()], Vec::new());
        for draw in 0..draws {
            let masked = text.mask(&model, draw)?;
            for (chosen, label) in chosen.iter_mut().zip(&masked.labels) {
                *chosen += usize::from(label.is_some());
            }
            shares.push(masked.labels.iter().flatten().count() as f64 / text.n_ordinary() as f64);
        }
        assert_mean(&format!("{unit:?}"), &shares, 0.15, 0.0);
        for (i, chosen) in chosen.into_iter().enumerate() {
            if text.special[i] {
                assert_eq!(chosen, 0, "{unit:?}: a special token at {i} of {last}");
            } else {
                assert_share(&format!("{unit:?} at {i} of {last}"), chosen, draws as usize, 0.15);
            }
        }
    }
    Ok(())
}

#[test]
fn masking_when_drawn_often_masks_most_and_draws_ordinary_tokens_alike() -> Outcome {
    let text = Text::new(60);
    for unit in [Unit::Token, Unit::Word] {
        let model = model(unit)?;
        let (mut n, mut masked, mut stayed, mut drawn) = (0, 0, 0, vec![0; VOCABULARY]);
        for draw in 0..4000 {
            let Masked { ids, labels } = text.mask(&model, draw)?;
            for ((&id, &label), &original) in ids.iter().zip(&labels).zip(&text.ids) {
                assert!(label.is_none_or(|label| label == original));
                if label.is_none() {
                    assert_eq!(id, original);
                    continue;
                }
                n += 1;
                match id {
                    MASK => masked += 1,
                    id if id == original => stayed += 1,
                    id => drawn[id as usize] += 1,
                }
            }
        }
        // A random token is the original one now and then.
        let ordinary = VOCABULARY - SPECIAL.len();
        let same = 0.1 / ordinary as f64;
        assert_share("masked", masked, n, 0.8);
        assert_share("stayed", stayed, n, 0.1 + same);
        assert_share("drawn", drawn.iter().sum(), n, 0.1 - same);
        for (id, &count) in drawn.iter().enumerate() {
            if SPECIAL.contains(&(id as u32)) {
                assert_eq!(count, 0, "special token {id}");
            } else {
                // Those of the text are left out where they would stand for themselves.
                let other = text.ids.iter().zip(&text.special).filter(|(t, s)| !**s && **t != id as u32).count();
                assert_share("drawn", count, n, same * other as f64 / text.n_ordinary() as f64);
            }
        }
    }
    Ok(())
}

#[test]
fn masking_when_by_words_or_spans_breaks_no_word() -> Outcome {
    let text = Text::new(40);
    for unit in [Unit::Word, Unit::Span] {
        let model = model(unit)?;
        let mut broken_by_tokens = 0;
        for draw in 0..500 {
            let parted = |masked: &Masked| {
                let parted = |word: std::ops::Range<usize>| {
                    word.len() > 1 && masked.labels[word].windows(2).any(|w| w[0].is_some() != w[1].is_some())
                };
                text.words().into_iter().any(parted)
            };
            assert!(!parted(&text.mask(&model, draw)?), "{unit:?}, draw {draw}");
            broken_by_tokens += usize::from(parted(&text.mask(&self::model(Unit::Token)?, draw)?));
        }
        assert!(broken_by_tokens > 400, "the test sees no broken words: {broken_by_tokens}");
    }
    Ok(())
}

#[test]
fn spans_when_drawn_have_the_lengths_of_the_distribution_and_one_fate() -> Outcome {
    let (text, model) = (Text::new(30_000), model(Unit::Span)?);
    let words = text.words();
    let (mut lengths, mut fates) = (vec![0; 12], [0; 3]);
    for draw in 0..8 {
        let masked = text.mask(&model, draw)?;
        let chosen = |word: &std::ops::Range<usize>| word.start < word.end && masked.labels[word.start].is_some();
        for span in words.chunk_by(|a, b| chosen(a) == chosen(b)).filter(|span| chosen(&span[0])) {
            lengths[span.len()] += 1;
            let tokens = span[0].start..span[span.len() - 1].end;
            let pairs = || tokens.clone().map(|i| (masked.ids[i], text.ids[i]));
            let random = |(new, _): (u32, u32)| !SPECIAL.contains(&new);
            let fate = match () {
                () if pairs().all(|(new, _)| new == MASK) => 0,
                () if pairs().all(|(new, old)| new == old) => 1,
                () if pairs().all(random) => 2,
                () => panic!("a span with two fates"),
            };
            // A random token in place of a single one may be the same.
            if tokens.len() > 2 {
                fates[fate] += 1;
            }
        }
    }
    let (n, all) = (lengths.iter().sum(), (1..=10).map(|l| 0.8f64.powi(l)).sum::<f64>());
    assert!(n > 15_000 && lengths[0] + lengths[11] == 0, "{lengths:?}");
    for (length, &count) in lengths.iter().enumerate().take(11).skip(1) {
        assert_share(&format!("spans of {length}"), count, n, 0.8f64.powi(length as i32) / all);
    }
    for (fate, p) in fates.into_iter().zip([0.8, 0.1, 0.1]) {
        assert_share("fate of spans", fate, fates.iter().sum(), p);
    }
    Ok(())
}

#[test]
fn masking_when_a_text_is_short_chooses_something() -> Outcome {
    for unit in [Unit::Token, Unit::Word, Unit::Span] {
        let model = model(unit)?;
        let mut first = 0;
        for draw in 0..2000 {
            let key = Key::new(1, Stream::Masking).child(draw);
            let text =
                Text { ids: vec![7, 20, 21, 49], continues: vec![false; 4], special: vec![true, false, false, true] };
            let masked = text.mask(&model, draw)?;
            assert!(masked.labels.iter().any(Option::is_some), "{unit:?} {draw}");
            first += usize::from(masked.labels[1].is_some());
            let empty = model.apply(&[], &[], &[], key)?;
            assert_eq!((empty.ids, empty.labels), (vec![], vec![]));
            let none = model.apply(&[7, 49], &[false; 2], &[true; 2], key)?;
            assert_eq!((none.ids, none.labels), (vec![7, 49], vec![None; 2]));
        }
        if unit != Unit::Span {
            assert_share("the first of two", first, 2000, 0.15 + 0.85 * 0.85 / 2.0);
        }
    }
    Ok(())
}

#[test]
fn masking_when_repeated_is_the_same_and_with_another_key_another() -> Outcome {
    let text = Text::new(40);
    for unit in [Unit::Token, Unit::Word, Unit::Span] {
        let model = model(unit)?;
        assert_eq!(text.mask(&model, 1)?, text.mask(&model, 1)?);
        assert_ne!(text.mask(&model, 1)?.labels, text.mask(&model, 2)?.labels);
    }
    Ok(())
}

#[test]
fn masking_when_its_values_do_not_fit_is_refused() -> Outcome {
    for rate in [0.0, -0.1, 1.1, f64::NAN] {
        let error = MaskedLM::new(rate, Unit::Token, MASK, VOCABULARY, &SPECIAL).err().ok_or("taken")?;
        assert!(error.to_string().contains("rate="), "{error}");
    }
    assert!(MaskedLM::new(1.0, Unit::Word, MASK, VOCABULARY, &SPECIAL).is_ok());
    assert!(MaskedLM::new(0.9, Unit::Span, MASK, VOCABULARY, &SPECIAL).is_err(), "spans need gaps");
    assert!(MaskedLM::new(0.15, Unit::Token, 50, VOCABULARY, &[]).is_err(), "the mask is beyond the vocabulary");
    assert!(MaskedLM::new(0.15, Unit::Token, 1, 3, &[0, 2]).is_err(), "nothing to draw from");
    assert!(model(Unit::Token)?.apply(&[1, 2], &[false], &[false; 2], Key::new(1, Stream::Masking)).is_err());
    Ok(())
}

#[test]
fn causal_labels_when_made_are_the_tokens_after() {
    assert_eq!(next_tokens(&[5, 6, 7], None), [Some(6), Some(7), None]);
    assert_eq!(next_tokens(&[5], None), [None]);
    assert_eq!(next_tokens(&[], None), []);
    assert_eq!(next_tokens(&[5, 6, 7, 6], Some(6)), [None, Some(7), None, None]);
}

fn permutation(special: &[bool], draw: u64) -> Permutation {
    Permutation::draw(special, Key::new(5, Stream::Permutation).child(draw))
}

#[test]
fn permutation_when_drawn_lets_no_token_know_of_itself_or_of_later_ones() {
    for (n, draws) in [(0, 1), (1, 50), (7, 50), (31, 20), (64, 5)] {
        let special: Vec<bool> = (0..n).map(|i| n > 1 && (i + 1 == n || i == n / 2)).collect();
        for draw in 0..draws {
            let permutation = permutation(&special, draw);
            let (targets, hidden) = (&permutation.targets, permutation.hidden());
            let ranks: HashSet<u32> = targets.iter().map(|&t| permutation.ranks[t as usize]).collect();
            assert_eq!(ranks, (1..=targets.len() as u32).collect());
            assert!(targets.is_sorted());
            // Whose content each stream has learnt of, layer after layer.
            let sees = |i: usize, j: usize| !hidden[i * n + j];
            let mut content: Vec<HashSet<usize>> = (0..n).map(|i| [i].into()).collect();
            let mut query: Vec<HashSet<usize>> = vec![HashSet::new(); n];
            for _ in 0..4 {
                let learnt = |i: usize, own: bool| {
                    (0..n)
                        .filter(|&j| sees(i, j) || own && i == j)
                        .flat_map(|j| content[j].clone())
                        .collect::<HashSet<_>>()
                };
                let (next, queries) = ((0..n).map(|i| learnt(i, true)).collect(), (0..n).map(|i| learnt(i, false)));
                query.iter_mut().zip(queries).for_each(|(all, new)| all.extend(new));
                content = next;
            }
            for (i, known) in query.iter().enumerate() {
                let rank = permutation.ranks[i];
                assert_eq!(rank > 0, targets.contains(&(i as u32)));
                assert!(rank == 0 || !special[i]);
                let may: HashSet<usize> = (0..n).filter(|&j| permutation.ranks[j] < rank.max(1)).collect();
                assert_eq!(*known, may, "{i} of {n}");
            }
        }
    }
}

#[test]
fn permutation_when_drawn_often_predicts_as_many_as_transformers() {
    // By tests/reference/count_predicted.py (transformers 5.23): length; mean number and its error, share without any.
    for (n, mean, error, none) in [(12, 1.6314, 0.0106, 0.3193), (30, 4.6876, 0.0087, 0.0), (128, 21.0037, 0.0095, 0.0)]
    {
        let special: Vec<bool> = (0..n).map(|i| i + 2 >= n).collect();
        let drawn: Vec<Permutation> = (0..20_000).map(|draw| permutation(&special, draw)).collect();
        let counts: Vec<f64> = drawn.iter().map(|p| p.targets.len() as f64).collect();
        assert_mean("targets", &counts, mean, error);
        let without: Vec<f64> = counts.iter().map(|&count| f64::from(u8::from(count == 0.0))).collect();
        assert_mean("no targets", &without, none, (none * (1.0 - none) / 20_000.0).sqrt());
        let first = drawn.iter().filter(|p| p.ranks[0] > 0).count();
        let expected = (1..=5).map(|length| 1.0 / f64::from(5 * length + 1)).sum::<f64>() / 5.0;
        assert_share("the first token", first, drawn.len(), expected);
    }
}

#[test]
fn permutation_when_drawn_often_has_every_order_alike() {
    let drawn = (0..30_000).map(|draw| permutation(&[false; 24], draw)).filter(|p| p.targets.len() == 3);
    let mut orders = std::collections::BTreeMap::<Vec<u32>, usize>::new();
    for p in drawn {
        *orders.entry(p.targets.iter().map(|&t| p.ranks[t as usize]).collect()).or_default() += 1;
    }
    let n = orders.values().sum();
    assert!(n > 2000 && orders.len() == 6, "{orders:?}");
    for (order, count) in orders {
        assert_share(&format!("{order:?}"), count, n, 1.0 / 6.0);
    }
}

#[test]
fn permutation_when_repeated_is_the_same_and_with_another_key_another() {
    assert_eq!(permutation(&[false; 40], 1), permutation(&[false; 40], 1));
    assert_ne!(permutation(&[false; 40], 1), permutation(&[false; 40], 2));
}

#[test]
fn tokens_when_drawn_often_have_the_probabilities_of_the_logits() -> Outcome {
    let (row, n) = ([1.0, f32::NEG_INFINITY, -2.0, 101.0f32.ln(), 0.0, -200.0, f32::NEG_INFINITY], 40_000);
    let all: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
    for shift in [0.0, 1000.0, -1000.0] {
        let logits: Vec<f32> = row.iter().map(|z| z + shift).cycle().take(n * row.len()).collect();
        let key = Key::new(3, Stream::Sampling);
        let drawn = sample(&logits, row.len(), key)?;
        assert_eq!(drawn, sample(&logits, row.len(), key)?);
        assert_ne!(drawn, sample(&logits, row.len(), key.child(1))?);
        for (token, z) in row.iter().enumerate() {
            let count = drawn.iter().filter(|&&drawn| drawn as usize == token).count();
            let p = f64::from(*z).exp() / all;
            // A shift by a thousand leaves four decimal places.
            if p > 1e-6 && shift == 0.0 {
                assert_share("drawn", count, n, p);
            } else {
                assert!((count as f64 / n as f64 - p).abs() < 0.02 && (p > 0.0 || count == 0), "{token}: {count}");
            }
        }
    }
    Ok(())
}

#[test]
fn tokens_when_logits_are_broken_are_not_drawn() {
    let key = Key::new(3, Stream::Sampling);
    for logits in [[0.0, f32::NAN], [f32::NEG_INFINITY; 2], [f32::INFINITY, 0.0]] {
        assert!(sample(&logits, 2, key).is_err_and(|error| error.to_string().contains("not finite")));
    }
    assert!(sample(&[0.0; 3], 2, key).is_err() && sample(&[0.0; 3], 0, key).is_err());
    assert_eq!(sample(&[], 2, key).ok(), Some(vec![]));
}
