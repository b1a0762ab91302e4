//! Attention with groups of heads, spans and rotary positions at odd sizes against a plain f64 formula: forward directly,
//! backward against central differences.

use std::sync::Arc;

use candle_core::DType;
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::{StorageDtype, in_pool, set_num_threads};
use warmstart::error::Result;
use warmstart::matmul::{Format, Precision};
use warmstart::ops::attention::{Rotary, Scheme, Span, attention};
use warmstart::ops::dropout::Dropout;
use warmstart::rng::{Key, Stream};

use crate::tests::checks::check;
use crate::tests::ops::{as_type, collected, f64s, parameters, random, weighted_sum};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// A case: lengths of sequences, heads of queries and of keys, size of a head, span, frequencies of rotary positions.
#[derive(Clone)]
struct Case {
    lengths: Vec<u32>,
    heads: [usize; 2],
    size: usize,
    span: Span,
    frequencies: Vec<f64>,
}

const NEAR: Span = Span { before: 3, after: 3 };
const BACK: Span = Span { before: 5, after: 0 };

fn frequencies(pairs: usize) -> Vec<f64> {
    (0..pairs).map(|j| 100f64.powf(-(j as f64) / pairs as f64)).collect()
}

impl Case {
    fn starts(&self) -> Arc<[u32]> {
        let ends = self.lengths.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    fn scheme(&self, dropout: Option<Dropout>) -> Scheme {
        let longest = self.lengths.iter().max().copied().unwrap_or(0) as usize;
        let turned = !self.frequencies.is_empty();
        Scheme {
            cu_seqlens: self.starts(),
            heads: self.heads[0],
            key_heads: self.heads[1],
            span: self.span,
            rotary: turned.then(|| Arc::new(Rotary::new(&self.frequencies, longest.max(1), 1.0))),
            dropout,
        }
    }

    fn inputs(&self) -> Result<Vec<Array>> {
        let t = self.lengths.iter().sum::<u32>() as usize;
        let [queries, keys] = self.heads.map(|heads| heads * self.size);
        [(1, queries), (2, keys), (3, keys)].into_iter().map(|(seed, width)| random(seed, &[t, width])).collect()
    }

    /// A head's values, rotated to a position.
    fn rotated(&self, values: &[f64], position: usize) -> Vec<f64> {
        let (mut out, pairs) = (values.to_vec(), self.frequencies.len());
        for (j, frequency) in self.frequencies.iter().enumerate() {
            // The tables are f32.
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (sin, cos) = (f64::from(sin as f32), f64::from(cos as f32));
            out[j] = values[j] * cos - values[j + pairs] * sin;
            out[j + pairs] = values[j + pairs] * cos + values[j] * sin;
        }
        out
    }

    /// The formula; `factor(token, head, key)` multiplies probabilities.
    fn formula(&self, v: &[Vec<f64>], factor: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        let (d, [heads, key_heads]) = (self.size, self.heads);
        let mut out = vec![0.0; v[0].len()];
        for w in self.starts().windows(2) {
            let (first, n) = (w[0] as usize, (w[1] - w[0]) as usize);
            for (i, head) in (0..n).flat_map(|i| (0..heads).map(move |head| (i, head))) {
                let key_head = head * key_heads / heads;
                let query = (first + i) * heads * d + head * d;
                let row = |t: usize| (first + t) * key_heads * d + key_head * d;
                let q = self.rotated(&v[0][query..query + d], i);
                let sees = |t: &usize| t + self.span.before.min(n) >= i && *t <= i + self.span.after.min(n);
                let score = |t: usize| {
                    let k = self.rotated(&v[1][row(t)..row(t) + d], t);
                    (t, q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt())
                };
                let scores: Vec<(usize, f64)> = (0..n).filter(sees).map(score).collect();
                let max = scores.iter().fold(f64::MIN, |a, b| a.max(b.1));
                let sum: f64 = scores.iter().map(|(_, s)| (s - max).exp()).sum();
                for (t, s) in scores {
                    let p = (s - max).exp() / sum * factor(first + i, head, t);
                    (0..d).for_each(|j| out[query + j] += p * v[2][row(t) + j]);
                }
            }
        }
        out
    }
}

fn run(a: &[Var], scheme: Scheme, format: impl Into<Format>) -> Result<Var> {
    attention(&a[0], &a[1], &a[2], scheme, format)
}

fn constants(tensors: Vec<Array>) -> Vec<Var> {
    tensors.into_iter().map(Var::constant).collect()
}

/// Blocks are of 56 queries: one less, as many, one more, several; empty and single tokens.
fn odd_cases() -> Vec<Case> {
    let case = |lengths: &[u32], heads, size, span, pairs| Case {
        lengths: lengths.to_vec(),
        heads,
        size,
        span,
        frequencies: frequencies(pairs),
    };
    vec![
        case(&[1], [1, 1], 1, Span::ALL, 0),
        case(&[0], [2, 2], 2, Span::ALL, 0),
        case(&[3, 0, 5, 1], [2, 2], 7, Span::ALL, 0),
        case(&[55, 56, 57, 1, 0], [2, 1], 6, Span::ALL, 3),
        case(&[131, 2], [3, 1], 6, Span::CAUSAL, 3),
        case(&[57, 3, 130], [2, 1], 7, NEAR, 2),
        case(&[4, 131], [3, 3], 16, BACK, 8),
        case(&[1, 70], [6, 2], 40, Span::CAUSAL, 5),
        case(&[9, 64], [4, 4], 7, BACK, 0),
    ]
}

#[test]
fn attention_when_sizes_are_odd_agrees_forward_and_backward() -> Outcome {
    for case in odd_cases() {
        let what = format!("attention {:?} {:?} {} {:?}", case.lengths, case.heads, case.size, case.span);
        check(
            &what,
            &case.inputs()?,
            |a| run(a, case.scheme(None), Precision::F32),
            |v| case.formula(v, |_, _, _| 1.0),
        )?;
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn attention_when_dropout_is_on_drops_probabilities_and_its_gradients_follow_the_same_mask() -> Outcome {
    for (heads, span) in [([2, 2], Span::ALL), ([4, 2], Span::CAUSAL), ([3, 1], NEAR)] {
        let case = Case { lengths: vec![61, 9], heads, size: 4, span, frequencies: frequencies(2) };
        let scheme = case.scheme(Some(Dropout::new(0.4, Key::new(3, Stream::Dropout))));
        let (inputs, longest) = (case.inputs()?, 61);
        let (t, keys) = (70, heads[1] * case.size);
        // What is kept, read off with unit values at one position of every sequence.
        let mut factor = vec![vec![0.0; longest]; t * heads[0]];
        let (mut kept, mut seen) = (0, 0);
        for key in 0..longest {
            let mut unit = vec![0f32; t * keys];
            for first in [0, 61].into_iter().filter(|first| first + key < if *first == 0 { 61 } else { t }) {
                unit[(first + key) * keys..(first + key + 1) * keys].fill(1.0);
            }
            let mut args = constants(inputs.clone());
            args[2] = Var::constant(Array::new(unit, (t, keys))?);
            let plain = f64s(run(&args, case.scheme(None), Precision::F32)?.array())?;
            let dropped = f64s(run(&args, scheme.clone(), Precision::F32)?.array())?;
            for (row, factor) in factor.iter_mut().enumerate() {
                let at = row * case.size;
                if plain[at] > 0.0 {
                    factor[key] = (dropped[at] / plain[at] * 0.6).round() / 0.6;
                    seen += 1;
                    kept += usize::from(factor[key] > 0.0);
                }
            }
        }
        let kept = f64::from(kept as u32) / f64::from(seen as u32);
        assert!((kept - 0.6).abs() < 0.05, "{heads:?}: {kept}");
        check(
            "attention with dropout",
            &inputs,
            |a| run(a, scheme.clone(), Precision::F32),
            |v| case.formula(v, |token, head, key| factor[token * heads[0] + head][key]),
        )?;
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn attention_when_sequences_are_packed_is_the_same_as_alone() -> Outcome {
    for case in odd_cases() {
        let (inputs, starts) = (case.inputs()?, case.starts());
        let together = run(&constants(inputs.clone()), case.scheme(None), Precision::F32)?;
        for (w, &n) in starts.windows(2).zip(&case.lengths).filter(|(_, n)| **n > 0) {
            let own = |array: &Array| array.rows(w[0] as usize, n as usize);
            let alone = Case { lengths: vec![n], ..case.clone() };
            let args = inputs.iter().map(own).collect::<std::result::Result<Vec<_>, _>>()?;
            let got = f64s(run(&constants(args), alone.scheme(None), Precision::F32)?.array())?;
            let expected = f64s(&own(together.array())?)?;
            let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= 1e-6, "{:?}: {off:e}", case.lengths);
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn attention_when_values_and_products_are_bf16_stays_close() -> Outcome {
    for case in odd_cases() {
        // The formula sees the rounded inputs too: what is left is the error of the products and of the result.
        let inputs: Vec<Array> = case.inputs()?.iter().map(|x| as_type(x, DType::BF16)).collect::<Result<_>>()?;
        let wide = |x: &Array| f64s(&as_type(x, DType::F32)?);
        let expected = case.formula(&inputs.iter().map(wide).collect::<Result<Vec<_>>>()?, |_, _, _| 1.0);
        let format = Format { precision: Precision::Bf16, result: StorageDtype::Bf16 };
        let got = wide(run(&constants(inputs), case.scheme(None), format)?.array())?;
        let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
        let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
        assert!(off < 0.02, "{:?} {:?}: {off}", case.lengths, case.span);
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn attention_when_some_gradients_are_not_wanted_gives_the_others() -> Outcome {
    let case = odd_cases().swap_remove(5);
    let inputs = case.inputs()?;
    let gradients_of = |wanted: [bool; 3]| -> std::result::Result<Vec<Option<Vec<f32>>>, Box<dyn std::error::Error>> {
        let (params, gradients) = parameters(&inputs)?;
        let args: Vec<Var> = params
            .iter()
            .zip(wanted)
            .map(|(p, w)| if w { p.clone() } else { Var::constant(p.array().clone()) })
            .collect();
        let out = run(&args, case.scheme(None), Precision::F32)?;
        let weights: Vec<f32> = random(9, out.array().dims())?.values()?.to_vec();
        weighted_sum(&[(&out, &weights)])?.backward()?;
        Ok(collected(&gradients))
    };
    let all = gradients_of([true; 3])?;
    for wanted in [[true, false, false], [false, true, false], [false, false, true], [true, false, true]] {
        for (i, got) in gradients_of(wanted)?.iter().enumerate() {
            assert_eq!(got.as_ref(), if wanted[i] { all[i].as_ref() } else { None }, "{wanted:?} {i}");
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn attention_when_the_number_of_threads_changes_gives_the_same_bytes() -> Outcome {
    let case = odd_cases().swap_remove(4);
    let inputs = case.inputs()?;
    let all = || -> std::result::Result<Vec<Option<Vec<f32>>>, Box<dyn std::error::Error>> {
        let (params, gradients) = parameters(&inputs)?;
        let out = in_pool(|| run(&params, case.scheme(None), Precision::F32))?;
        let weights: Vec<f32> = random(9, out.array().dims())?.values()?.to_vec();
        let mut all = vec![Some(out.array().values()?.to_vec())];
        weighted_sum(&[(&out, &weights)])?.backward()?;
        all.extend(collected(&gradients));
        Ok(all)
    };
    set_num_threads(1);
    let one = all()?;
    set_num_threads(3);
    let three = all()?;
    set_num_threads(0);
    assert!(one == three);
    Ok(())
}
