//! Relative attention at odd sizes against a plain f64 formula: forward directly, backward against central differences.

use std::sync::Arc;

use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::{StorageDtype, set_num_threads};
use warmstart::error::Result;
use warmstart::matmul::{Format, Precision};
use warmstart::ops::dropout::Dropout;
use warmstart::ops::relative_attention::{Permutation, Relations, RelativeInputs, RelativeScheme, relative_attention};
use warmstart::rng::{Key, Stream};

use crate::tests::checks::check;
use crate::tests::ops::{collected, f64s, parameters, random, weighted_sum};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// Memory, own keys, and positions of queries of each sequence.
type Lengths<'a> = &'a [(u32, u32, Vec<u32>)];

fn starts(lengths: impl Iterator<Item = u32>) -> Arc<[u32]> {
    let ends = lengths.scan(0, |end, n| {
        *end += n;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Relations with segments 0, 1 and 2 drawn anew for each query and key, and a mask that hides two keys of five.
fn relations(lengths: Lengths, causal: bool, masked: bool) -> Relations {
    let drawn = |n: usize, seed| (0..n as u64).map(move |i| Key::new(seed, Stream::Shuffle).uniform(i));
    let positions: Arc<[u32]> = lengths.iter().flat_map(|(_, _, positions)| positions.clone()).collect();
    let (queries, keys) = (positions.len(), lengths.iter().map(|(memory, own, _)| memory + own).sum::<u32>());
    let squares = lengths.iter().map(|(_, own, _)| (own * own) as usize).sum();
    Relations {
        query_starts: starts(lengths.iter().map(|(_, _, positions)| positions.len() as u32)),
        query_segments: drawn(queries, 1).map(|x| (3.0 * x) as u32).collect(),
        positions,
        key_starts: starts(lengths.iter().map(|(memory, own, _)| memory + own)),
        memory: lengths.iter().map(|(memory, _, _)| *memory).collect(),
        key_segments: drawn(keys as usize, 2).map(|x| (3.0 * x) as u32).collect(),
        causal,
        permutation: masked.then(|| Permutation {
            hidden: drawn(squares, 3).map(|x| x < 0.4).collect(),
            sees_itself: drawn(queries, 4).map(|x| x < 0.5).collect(),
        }),
    }
}

/// Random inputs of the operation, in its order, for `heads` of size `d` and distances from `farthest` down.
fn inputs(relations: &Relations, heads: usize, d: usize, farthest: usize) -> Result<Vec<Array>> {
    let ((queries, keys), width) = ((relations.positions.len(), relations.key_segments.len()), heads * d);
    let distances = farthest + relations.reach().1 + 3;
    let [bias, segments] = [[1, heads, d], [2, heads, d]];
    [&[queries, width][..], &[keys, width], &[keys, width], &[distances, width], &bias, &bias, &bias, &segments]
        .iter()
        .enumerate()
        .map(|(i, shape)| random(10 + i as u64, shape))
        .collect()
}

fn run(a: &[Var], scheme: &RelativeScheme, format: impl Into<Format>) -> Result<Var> {
    let inputs = RelativeInputs {
        q: &a[0],
        k: &a[1],
        v: &a[2],
        r: &a[3],
        word_bias: &a[4],
        distance_bias: &a[5],
        segment_bias: &a[6],
        segments: &a[7],
    };
    relative_attention(&inputs, scheme.clone(), format)
}

/// The formula, value by value; `factor(query, head, key)` multiplies probabilities.
fn formula(
    v: &[Vec<f64>],
    relations: &Relations,
    heads: usize,
    farthest: usize,
    factor: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let width = v[4].len();
    let d = width / heads;
    let (mut out, mut mask_start) = (vec![0.0; v[0].len()], 0);
    for s in 0..relations.memory.len() {
        let [queries, keys] =
            [&relations.query_starts, &relations.key_starts].map(|x| x[s] as usize..x[s + 1] as usize);
        let memory = relations.memory[s] as usize;
        let own = keys.len() - memory;
        for (i, head) in queries.flat_map(|i| (0..heads).map(move |head| (i, head))) {
            let position = relations.positions[i] as usize;
            let sees = |key: usize| {
                let Some(at) = (key - keys.start).checked_sub(memory) else { return true };
                let hidden = relations.permutation.as_ref().is_some_and(|permutation| {
                    permutation.hidden[mask_start + position * own + at]
                        && !(permutation.sees_itself[i] && at == position)
                });
                !(hidden || relations.causal && at > position)
            };
            let score = |key: usize| {
                let distance = (memory + position) as i64 - (key - keys.start) as i64;
                let row = (farthest as i64 - distance) as usize;
                let segment = usize::from(relations.query_segments[i] != relations.key_segments[key]);
                let term = |j: usize| {
                    let (at, q) = (head * d + j, v[0][i * width + head * d + j]);
                    (q + v[4][at]) * v[1][key * width + at]
                        + (q + v[5][at]) * v[3][row * width + at]
                        + (q + v[6][at]) * v[7][segment * width + at]
                };
                (0..d).map(term).sum::<f64>() / (d as f64).sqrt()
            };
            let seen: Vec<(usize, f64)> = keys.clone().filter(|&key| sees(key)).map(|key| (key, score(key))).collect();
            let max = seen.iter().fold(f64::MIN, |a, b| a.max(b.1));
            let sum: f64 = seen.iter().map(|(_, score)| (score - max).exp()).sum();
            for (key, score) in &seen {
                let p = (score - max).exp() / sum * factor(i, head, key - keys.start);
                (0..d).for_each(|j| out[i * width + head * d + j] += p * v[2][key * width + head * d + j]);
            }
        }
        mask_start += own * own;
    }
    out
}

fn scheme(relations: &Relations, heads: usize, farthest: usize, dropout: Option<Dropout>) -> RelativeScheme {
    RelativeScheme { relations: Arc::new(relations.clone()), heads, farthest, dropout }
}

fn odd_cases() -> Vec<(Relations, usize, usize)> {
    let all = |n| (0..n).collect::<Vec<u32>>();
    vec![
        (relations(&[(0, 1, all(1))], false, false), 1, 1),
        (relations(&[(2, 5, all(5)), (0, 0, vec![]), (3, 4, vec![3, 0, 0]), (0, 2, vec![])], false, false), 2, 7),
        (relations(&[(0, 3, all(3)), (9, 65, all(65))], true, false), 3, 6),
        // Some of these queries see nothing.
        (relations(&[(0, 2, vec![0, 1, 1, 0, 1]), (5, 130, all(130)), (0, 60, vec![59, 3, 58, 0])], false, true), 2, 5),
        (relations(&[(4, 7, vec![6, 1, 2]), (0, 1, vec![0, 0])], true, true), 1, 16),
    ]
}

#[test]
fn relative_attention_when_lengths_are_odd_agrees_forward_and_backward() -> Outcome {
    for (relations, heads, d) in odd_cases() {
        let farthest = relations.reach().0 + 2;
        let scheme = scheme(&relations, heads, farthest, None);
        check(
            "relative attention",
            &inputs(&relations, heads, d, farthest)?,
            |a| run(a, &scheme, Precision::F32),
            |v| formula(v, &relations, heads, farthest, |_, _, _| 1.0),
        )?;
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn relative_attention_when_dropout_is_on_drops_probabilities_and_its_gradients_follow_the_same_mask() -> Outcome {
    let (own, heads, d) = (61u32, 2usize, 3usize);
    let (relations, width) = (relations(&[(4, own, (0..own).collect())], false, false), heads * d);
    let (keys, farthest) = (own as usize + 4, relations.reach().0);
    let args = inputs(&relations, heads, d, farthest)?;
    let dropped = scheme(&relations, heads, farthest, Some(Dropout::new(0.4, Key::new(3, Stream::Dropout))));
    // What is kept, read off with unit values.
    let mut factor = vec![vec![0.0; keys]; own as usize * heads];
    for key in 0..keys {
        let mut unit = vec![0f32; keys * width];
        unit[key * width..(key + 1) * width].fill(1.0);
        let mut args: Vec<Var> = args.iter().cloned().map(Var::constant).collect();
        args[2] = Var::constant(Array::new(unit, (keys, width))?);
        let plain = f64s(run(&args, &scheme(&relations, heads, farthest, None), Precision::F32)?.array())?;
        let out = f64s(run(&args, &dropped, Precision::F32)?.array())?;
        for (row, factor) in factor.iter_mut().enumerate() {
            let at = row / heads * width + row % heads * d;
            factor[key] = (out[at] / plain[at] * 0.6).round() / 0.6;
        }
    }
    let kept = factor.iter().flatten().filter(|&&f| f > 0.0).count() as f64 / (keys * factor.len()) as f64;
    assert!((kept - 0.6).abs() < 0.03, "{kept}");
    check(
        "relative attention with dropout",
        &args,
        |a| run(a, &dropped, Precision::F32),
        |v| formula(v, &relations, heads, farthest, |query, head, key| factor[query * heads + head][key]),
    )
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn relative_attention_when_products_are_in_bf16_stays_close() -> Outcome {
    for (relations, heads, d) in odd_cases() {
        let farthest = relations.reach().0;
        let args = inputs(&relations, heads, d, farthest)?;
        let values = args.iter().map(f64s).collect::<Result<Vec<_>>>()?;
        let expected = formula(&values, &relations, heads, farthest, |_, _, _| 1.0);
        let constants: Vec<Var> = args.into_iter().map(Var::constant).collect();
        let format = Format { precision: Precision::Bf16, result: StorageDtype::F32 };
        let got = f64s(run(&constants, &scheme(&relations, heads, farthest, None), format)?.array())?;
        let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
        let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
        assert!(off < 0.03, "{heads} heads of {d}: {off}");
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn relative_attention_when_the_number_of_threads_changes_gives_the_same_bytes() -> Outcome {
    let (relations, heads, d) = odd_cases().swap_remove(3);
    let farthest = relations.reach().0;
    let args = inputs(&relations, heads, d, farthest)?;
    let all = || -> std::result::Result<Vec<Option<Vec<f32>>>, Box<dyn std::error::Error>> {
        let (params, gradients) = parameters(&args)?;
        let out =
            warmstart::compute::in_pool(|| run(&params, &scheme(&relations, heads, farthest, None), Precision::F32))?;
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
fn relative_attention_when_inputs_do_not_fit_is_an_error() -> Outcome {
    let relations = relations(&[(1, 4, vec![0, 1, 2, 3])], false, true);
    let args: Vec<Var> = inputs(&relations, 2, 3, 4)?.into_iter().map(Var::constant).collect();
    let fails = |relations: Relations, heads, farthest| {
        run(&args, &scheme(&relations, heads, farthest, None), Precision::F32).is_err()
    };
    assert!(!fails(relations.clone(), 2, 4));
    assert!(fails(relations.clone(), 4, 4), "heads that do not divide the width");
    assert!(fails(relations.clone(), 2, 3), "distances without a row");
    assert!(fails(Relations { positions: [0, 1, 2, 4].into(), ..relations.clone() }, 2, 4), "a query outside");
    assert!(fails(Relations { memory: [6].into(), ..relations.clone() }, 2, 4), "more memory than keys");
    assert!(fails(Relations { key_starts: [0, 4].into(), ..relations.clone() }, 2, 4), "keys of no sequence");
    assert!(fails(Relations { query_segments: [0].into(), ..relations.clone() }, 2, 4), "segments");
    let short = relations.permutation.as_ref().map(|p| Permutation { hidden: [true; 15].into(), ..p.clone() });
    assert!(fails(Relations { permutation: short, ..relations }, 2, 4), "a mask of another size");
    Ok(())
}
