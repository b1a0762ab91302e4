//! Attention with terms by distance at odd sizes against a plain f64 formula: forward directly, backward against central
//! differences.

use std::sync::Arc;

use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::{StorageDtype, set_num_threads};
use warmstart::error::Result;
use warmstart::matmul::{Format, Precision};
use warmstart::ops::bucketed_attention::{BucketedInputs, BucketedScheme, Buckets, bucketed_attention};
use warmstart::ops::dropout::Dropout;
use warmstart::rng::{Key, Stream};

use crate::tests::checks::{Outcome, check};
use crate::tests::ops::{collected, f64s, parameters, random, weighted_sum};

/// Rows of the tables.
const ROWS: usize = 11;
/// Distances that have a row.
const REACH: usize = 70;

/// Which terms there are: keys, queries and biases by distance.
type Terms = [bool; 3];

#[derive(Clone)]
struct Case {
    starts: Vec<u32>,
    heads: usize,
    d: usize,
    terms: Terms,
    row: fn(i64) -> u32,
}

/// Rows that grow with the distance, several distances to each.
fn growing(distance: i64) -> u32 {
    (distance.div_euclid(3) + 5).clamp(0, ROWS as i64 - 1) as u32
}

/// Rows in no order.
fn mixed(distance: i64) -> u32 {
    (7 * distance * distance + 3 * distance).rem_euclid(ROWS as i64) as u32
}

impl Case {
    fn inputs(&self) -> Result<Vec<Array>> {
        let (tokens, width) = (self.starts[self.starts.len() - 1] as usize, self.heads * self.d);
        let tables = [[ROWS, width], [ROWS, width], [ROWS, self.heads]];
        let tables = tables.into_iter().zip(self.terms).filter(|(_, there)| *there).map(|(shape, _)| shape);
        let shapes = [[tokens, width]; 3].into_iter().chain(tables);
        shapes.enumerate().map(|(i, shape)| random(20 + i as u64, &shape)).collect()
    }

    fn scheme(&self, dropout: Option<Dropout>) -> BucketedScheme {
        BucketedScheme {
            cu_seqlens: self.starts.clone().into(),
            heads: self.heads,
            buckets: Buckets::new(REACH, self.row),
            scale: self.scale() as f32,
            dropout,
        }
    }

    fn scale(&self) -> f64 {
        1.0 / (1.5 * self.d as f64).sqrt()
    }

    fn run(&self, a: &[Var], dropout: Option<Dropout>, format: impl Into<Format>) -> Result<Var> {
        let mut tables = a[3..].iter();
        let [position_keys, position_queries, bias] = self.terms.map(|there| if there { tables.next() } else { None });
        let inputs = BucketedInputs { q: &a[0], k: &a[1], v: &a[2], position_keys, position_queries, bias };
        bucketed_attention(&inputs, self.scheme(dropout), format)
    }

    /// The formula, value by value; `factor(query, head, key)` multiplies probabilities.
    fn formula(&self, v: &[Vec<f64>], factor: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        let (heads, d, width) = (self.heads, self.d, self.heads * self.d);
        let mut tables = v[3..].iter();
        let [keys, queries, bias] = self.terms.map(|there| if there { tables.next() } else { None });
        let mut out = vec![0.0; v[0].len()];
        for sequence in self.starts.windows(2) {
            let tokens = sequence[0] as usize..sequence[1] as usize;
            for (i, head) in tokens.clone().flat_map(|i| (0..heads).map(move |head| (i, head))) {
                let score = |j: usize| {
                    let row = (self.row)(i as i64 - j as i64) as usize;
                    let dot = |a: &[f64], a_row: usize, b: &[f64], b_row: usize| {
                        let at = head * d..(head + 1) * d;
                        a[a_row * width..][at.clone()].iter().zip(&b[b_row * width..][at]).map(|(a, b)| a * b).sum()
                    };
                    let mut sum: f64 = dot(&v[0], i, &v[1], j);
                    sum += keys.map_or(0.0, |keys| dot(&v[0], i, keys, row));
                    sum += queries.map_or(0.0, |queries| dot(&v[1], j, queries, row));
                    sum * self.scale() + bias.map_or(0.0, |bias| bias[row * heads + head])
                };
                let scores: Vec<f64> = tokens.clone().map(score).collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                for (j, score) in tokens.clone().zip(&scores) {
                    let p = (score - max).exp() / sum * factor(i, head, j);
                    (0..d).for_each(|x| out[i * width + head * d + x] += p * v[2][j * width + head * d + x]);
                }
            }
        }
        out
    }
}

fn odd_cases() -> Vec<Case> {
    let case = |starts: &[u32], heads, d, terms, row| Case { starts: starts.to_vec(), heads, d, terms, row };
    vec![
        case(&[0, 1], 1, 1, [true, true, true], growing),
        case(&[0, 5, 5, 9], 2, 7, [false, false, false], growing),
        case(&[0, 5, 5, 9], 2, 7, [true, false, false], growing),
        case(&[0, 3, 20], 3, 5, [false, true, false], mixed),
        case(&[0, 3, 70, 71], 1, 6, [false, false, true], mixed),
        case(&[0, 66, 67, 90], 2, 5, [true, true, false], growing),
        case(&[0, 2, 33], 2, 16, [true, true, true], mixed),
    ]
}

#[test]
fn bucketed_attention_when_lengths_are_odd_agrees_forward_and_backward() -> Outcome {
    for case in odd_cases() {
        check(
            &format!("{:?} {:?}", case.starts, case.terms),
            &case.inputs()?,
            |a| case.run(a, None, Precision::F32),
            |v| case.formula(v, |_, _, _| 1.0),
        )?;
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn bucketed_attention_when_dropout_is_on_drops_probabilities_and_its_gradients_follow_the_same_mask() -> Outcome {
    let case = Case { starts: vec![0, 61], heads: 2, d: 3, terms: [true, true, true], row: growing };
    let (tokens, width, args) = (61, 6, case.inputs()?);
    let dropped = Dropout::new(0.4, Key::new(3, Stream::Dropout));
    // What is kept, read off with unit values.
    let mut factor = vec![vec![0.0; tokens]; tokens * case.heads];
    for key in 0..tokens {
        let mut unit = vec![0f32; tokens * width];
        unit[key * width..(key + 1) * width].fill(1.0);
        let mut args: Vec<Var> = args.iter().cloned().map(Var::constant).collect();
        args[2] = Var::constant(Array::new(unit, (tokens, width))?);
        let plain = f64s(case.run(&args, None, Precision::F32)?.array())?;
        let out = f64s(case.run(&args, Some(dropped), Precision::F32)?.array())?;
        for (row, factor) in factor.iter_mut().enumerate() {
            let at = row / case.heads * width + row % case.heads * case.d;
            factor[key] = (out[at] / plain[at] * 0.6).round() / 0.6;
        }
    }
    let kept = factor.iter().flatten().filter(|&&f| f > 0.0).count() as f64 / (tokens * factor.len()) as f64;
    assert!((kept - 0.6).abs() < 0.03, "{kept}");
    check(
        "attention by distance with dropout",
        &args,
        |a| case.run(a, Some(dropped), Precision::F32),
        |v| case.formula(v, |query, head, key| factor[query * case.heads + head][key]),
    )
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn bucketed_attention_when_products_are_in_bf16_stays_close() -> Outcome {
    for case in odd_cases() {
        let args = case.inputs()?;
        let values = args.iter().map(f64s).collect::<Result<Vec<_>>>()?;
        let expected = case.formula(&values, |_, _, _| 1.0);
        let constants: Vec<Var> = args.into_iter().map(Var::constant).collect();
        let format = Format { precision: Precision::Bf16, result: StorageDtype::F32 };
        let got = f64s(case.run(&constants, None, format)?.array())?;
        let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
        let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
        assert!(off < 0.03, "{:?}: {off}", case.starts);
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn bucketed_attention_when_the_number_of_threads_changes_gives_the_same_bytes() -> Outcome {
    let case = odd_cases().swap_remove(6);
    let args = case.inputs()?;
    let all = || -> std::result::Result<Vec<Option<Vec<f32>>>, Box<dyn std::error::Error>> {
        let (params, gradients) = parameters(&args)?;
        let out = warmstart::compute::in_pool(|| case.run(&params, None, Precision::F32))?;
        let weights: Vec<f32> = random(99, out.array().dims())?.values()?.to_vec();
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

#[test]
fn bucketed_attention_when_inputs_do_not_fit_is_an_error() -> Outcome {
    let case = Case { starts: vec![0, 4, 9], heads: 2, d: 3, terms: [true, true, true], row: growing };
    let args: Vec<Var> = case.inputs()?.into_iter().map(Var::constant).collect();
    let fails = |case: &Case| case.run(&args, None, Precision::F32).is_err();
    assert!(!fails(&case));
    assert!(fails(&Case { starts: vec![0, 4, 8], ..case.clone() }), "a token without a sequence");
    assert!(fails(&Case { heads: 3, ..case.clone() }), "biases of other heads");
    assert!(fails(&Case { row: |_| ROWS as u32, ..case.clone() }), "no such row");
    let far = BucketedScheme { buckets: Buckets::new(3, growing), ..case.scheme(None) };
    let [q, k, v, ..] = &args[..] else { unreachable!() };
    let inputs = BucketedInputs { q, k, v, position_keys: None, position_queries: None, bias: Some(&args[5]) };
    assert!(bucketed_attention(&inputs, far, Precision::F32).is_err(), "a distance without a row");
    let empty = BucketedScheme { cu_seqlens: Arc::from([0u32]), ..case.scheme(None) };
    assert!(bucketed_attention(&inputs, empty, Precision::F32).is_err(), "no sequence, yet tokens");
    Ok(())
}
