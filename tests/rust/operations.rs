//! The other operations at odd sizes against plain f64 formulas: forward directly, backward against central differences.

use std::sync::Arc;

use candle_core::DType;
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::StorageDtype;
use warmstart::error::Result;
use warmstart::matmul::Precision;
use warmstart::ops::activation::Activation;
use warmstart::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use warmstart::ops::columns::side_by_side;
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::ops::dropout::{Dropout, dropout};
use warmstart::ops::embedding::{embedding, embedding_sum};
use warmstart::ops::gated::gated;
use warmstart::ops::norm::{Kind, Norm, norm, residual_norm};
use warmstart::ops::regression_loss::{Penalty, RegressionLoss, regression_loss};
use warmstart::ops::segment_pool::{Reduction, segment_pool};
use warmstart::rng::{Key, Stream};

use crate::tests::checks::{Outcome, activate, assert_close, check, factors};
use crate::tests::ops::{
    as_type, attention, collected, f64s, layer_norm, linear, parameters, random, sum, weighted_sum,
};

fn norm_formula(x: &[f64], w: &[f64], b: &[f64], eps: f64) -> Vec<f64> {
    let d = w.len();
    x.chunks(d)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / d as f64;
            let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            row.iter().enumerate().map(|(i, x)| (x - mean) / (var + eps).sqrt() * w[i] + b[i]).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn layer_norm_when_shapes_are_odd_agrees_forward_and_backward() -> Outcome {
    for (t, d) in [(1, 1), (1, 3), (7, 16), (33, 17), (65, 1023)] {
        let args = [random(1, &[t, d])?, random(2, &[d])?, random(3, &[d])?];
        check(
            "layer norm",
            &args,
            |a| norm(&a[0], &layer_norm(&a[1], &a[2], 1e-5)),
            |v| norm_formula(&v[0], &v[1], &v[2], 1e-5),
        )?;
    }
    Ok(())
}

/// The factors 0 or 1 / (1 - p) that an operation's dropout uses, read off `dropout` of ones.
#[test]
fn root_mean_square_norm_when_shapes_are_odd_agrees_forward_and_backward() -> Outcome {
    // The last: each half of a row by itself, as heads are normed.
    for (t, columns, d) in [(1, 1, 1), (7, 16, 16), (33, 17, 17), (5, 14, 7)] {
        let args = [random(1, &[t, columns])?, random(2, &[d])?, random(3, &[d])?];
        let formula = |v: &[Vec<f64>], bias: bool| -> Vec<f64> {
            let row = |x: &[f64]| {
                let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / d as f64 + 1e-6).sqrt();
                let part = |(i, x): (usize, &f64)| x * scale * v[1][i] + if bias { v[2][i] } else { 0.0 };
                x.iter().enumerate().map(part).collect::<Vec<_>>()
            };
            v[0].chunks(d).flat_map(row).collect()
        };
        let of = |weight: &Var, bias: Option<&Var>| Norm {
            kind: Kind::RootMeanSquare,
            weight: weight.clone(),
            bias: bias.cloned(),
            eps: 1e-6,
        };
        check("rms norm", &args[..2], |a| norm(&a[0], &of(&a[1], None)), |v| formula(v, false))?;
        check("rms norm with bias", &args, |a| norm(&a[0], &of(&a[1], Some(&a[2]))), |v| formula(v, true))?;
    }
    let x = Var::constant(random(1, &[2, 10])?);
    let four = Var::constant(random(1, &[4])?);
    assert!(norm(&x, &layer_norm(&four, &four, 1e-5)).is_err(), "10 values in fours");
    Ok(())
}

#[test]
fn gated_when_sizes_are_odd_agrees_forward_and_backward() -> Outcome {
    for activation in [Activation::Silu, Activation::Gelu] {
        for shape in [[1, 1], [3, 7], [5, 1023]] {
            let args = [random(1, &shape)?, random(2, &shape)?];
            check(
                "gated",
                &args,
                |a| gated(&a[0], &a[1], activation, StorageDtype::F32),
                |v| v[0].iter().zip(&v[1]).map(|(gate, up)| activate(Some(activation), *gate) * up).collect(),
            )?;
        }
    }
    let narrow = |array: Array| Ok::<_, warmstart::error::Error>(Var::constant(as_type(&array, DType::BF16)?));
    let (gate, up) = (narrow(random(1, &[3, 700])?)?, narrow(random(2, &[3, 700])?)?);
    let wide = |x: &Var| Ok::<_, warmstart::error::Error>(Var::constant(as_type(x.array(), DType::F32)?));
    let expected = gated(&wide(&gate)?, &wide(&up)?, Activation::Silu, StorageDtype::F32)?;
    let got = gated(&gate, &up, Activation::Silu, StorageDtype::Bf16)?;
    assert_eq!(f64s(wide(&got)?.array())?, f64s(&as_type(&as_type(expected.array(), DType::BF16)?, DType::F32)?)?);
    Ok(())
}

#[test]
fn residual_layer_norm_when_dropout_is_on_agrees_forward_and_backward() -> Outcome {
    for (t, d) in [(1, 7), (70, 33)] {
        for p in [0.0, 0.3] {
            let drop = (p > 0.0).then(|| Dropout::new(p, Key::new(5, Stream::Dropout)));
            let factor = factors(drop.unwrap_or(Dropout::new(0.0, Key::new(5, Stream::Dropout))), &[t, d])?;
            let args = [random(1, &[t, d])?, random(2, &[t, d])?, random(3, &[d])?, random(4, &[d])?];
            check(
                "residual layer norm",
                &args,
                |a| residual_norm(&a[0], &a[1], &layer_norm(&a[2], &a[3], 1e-12), drop),
                |v| {
                    let sum: Vec<f64> = v[0].iter().zip(&factor).zip(&v[1]).map(|((x, f), r)| x * f + r).collect();
                    norm_formula(&sum, &v[2], &v[3], 1e-12)
                },
            )?;
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn dropout_when_applied_keeps_the_mean_and_its_backward_uses_the_same_mask() -> Outcome {
    let (p, n) = (0.25, 100_003);
    let drop = Dropout::new(p, Key::new(11, Stream::Dropout));
    let factor = factors(drop, &[n])?;
    let kept = factor.iter().filter(|&&f| f > 0.0).count() as f64 / n as f64;
    assert!((kept - 0.75).abs() < 0.006, "{kept}");
    assert!(factor.iter().all(|&f| f == 0.0 || (f - 4.0 / 3.0).abs() < 1e-6));
    let (params, gradients) = parameters(&[random(1, &[n])?])?;
    let y = dropout(&params[0], drop)?;
    let expected: Vec<f64> = f64s(params[0].array())?.iter().zip(&factor).map(|(x, f)| x * f).collect();
    assert_close("dropout", &f64s(y.array())?, &expected, 1e-6);
    sum(&y)?.backward()?;
    let gradient: Vec<f64> = collected(&gradients).remove(0).ok_or("none")?.into_iter().map(f64::from).collect();
    assert_close("dropout gradient", &gradient, &factor, 1e-6);
    let narrow = as_type(params[0].array(), DType::BF16)?;
    let dropped = as_type(dropout(&Var::constant(narrow.clone()), drop)?.array(), DType::F32)?;
    let expected: Vec<f64> = f64s(&as_type(&narrow, DType::F32)?)?.iter().zip(&factor).map(|(x, f)| x * f).collect();
    assert_close("dropout of bf16", &f64s(&dropped)?, &expected, 4e-3);
    let small = Dropout::new(0.4, Key::new(13, Stream::Dropout));
    let mask = factors(small, &[9, 11])?;
    check(
        "dropout",
        &[random(2, &[9, 11])?],
        |a| dropout(&a[0], small),
        |v| v[0].iter().zip(&mask).map(|(x, f)| x * f).collect(),
    )?;
    let other = factors(Dropout::new(p, Key::new(12, Stream::Dropout)), &[n])?;
    let both = factor.iter().zip(&other).filter(|(a, b)| **a > 0.0 && **b > 0.0).count() as f64 / n as f64;
    assert!((both - 0.5625).abs() < 0.01, "masks of two keys are not independent: {both}");
    Ok(())
}

#[test]
fn embedding_when_ids_repeat_adds_their_gradients() -> Outcome {
    for (v, d, ids) in
        [(1, 1, vec![0u32]), (7, 5, vec![3, 0, 3, 6, 3]), (200, 33, (0..501).map(|i| i * 7 % 200).collect())]
    {
        let ids: Arc<[u32]> = ids.into();
        let picked = ids.clone();
        check(
            "embedding",
            &[random(1, &[v, d])?],
            |a| embedding(&a[0], ids.clone()),
            move |t| picked.iter().flat_map(|&id| t[0][id as usize * d..][..d].to_vec()).collect(),
        )?;
    }
    let table = Var::constant(random(1, &[3, 2])?);
    let error = embedding(&table, vec![0, 3].into()).err().ok_or("id 3 of 3 rows was accepted")?;
    assert!(error.to_string().contains("id 3 at position 1"), "{error}");
    Ok(())
}

#[test]
fn embedding_sum_when_tables_differ_in_length_adds_their_rows() -> Outcome {
    let (d, t) = (5, 300u32);
    let ids: [Arc<[u32]>; 3] = [
        (0..t).map(|i| i * 7 % 130).collect(),
        (0..t).map(|i| i % 64).collect(),
        (0..t).map(|i| u32::from(i % 3 == 0)).collect(),
    ];
    check(
        "embedding sum",
        &[random(1, &[130, d])?, random(2, &[64, d])?, random(3, &[2, d])?],
        |a| embedding_sum(&[(&a[0], ids[0].clone()), (&a[1], ids[1].clone()), (&a[2], ids[2].clone())]),
        |v| {
            let at = |i: usize, table: usize| v[table][ids[table][i / d] as usize * d + i % d];
            (0..t as usize * d).map(|i| at(i, 0) + at(i, 1) + at(i, 2)).collect()
        },
    )?;
    let tables = [(2, 3), (2, 4)].map(|(v, d)| random(1, &[v, d]).map(Var::constant));
    let [narrow, wide] = tables;
    let (narrow, wide, ids) = (narrow?, wide?, Arc::<[u32]>::from([0, 1]));
    assert!(embedding_sum(&[(&narrow, ids.clone()), (&wide, ids.clone())]).is_err());
    assert!(embedding_sum(&[(&narrow, ids), (&narrow, [0].into())]).is_err());
    Ok(())
}

pub fn attention_formula(v: &[Vec<f64>], starts: &[u32], heads: usize, width: usize) -> Vec<f64> {
    let d = width / heads;
    let mut out = vec![0.0; v[0].len()];
    for w in starts.windows(2) {
        let rows = w[0] as usize..w[1] as usize;
        for head in 0..heads {
            let at = |t: usize, j: usize| t * width + head * d + j;
            for i in rows.clone() {
                let scores: Vec<f64> = rows
                    .clone()
                    .map(|t| (0..d).map(|j| v[0][at(i, j)] * v[1][at(t, j)]).sum::<f64>() / (d as f64).sqrt())
                    .collect();
                let max = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for (t, s) in rows.clone().zip(&scores) {
                    (0..d).for_each(|j| out[at(i, j)] += (s - max).exp() / sum * v[2][at(t, j)]);
                }
            }
        }
    }
    out
}

#[test]
fn attention_when_the_sequences_do_not_cover_the_tokens_is_an_error() -> Outcome {
    let x = Var::constant(random(1, &[4, 6])?);
    for cu in [vec![0u32, 3], vec![1, 4], vec![0, 3, 2, 4], vec![]] {
        assert!(attention(&x, &x, &x, cu.clone().into(), 2, None, Precision::F32).is_err(), "{cu:?}");
    }
    assert!(attention(&x, &x, &x, vec![0, 4].into(), 4, None, Precision::F32).is_err());
    Ok(())
}

#[test]
fn cross_entropy_when_weighted_smoothed_and_ignored_agrees_forward_and_backward() -> Outcome {
    for (b, c) in [(1usize, 1usize), (7, 3), (5, 1023)] {
        for (weighted, smooth) in [(false, 0.0f32), (true, 0.2)] {
            let labels: Vec<Option<u32>> = (0..b).map(|i| (i != 2).then_some((i * 5 % c) as u32)).collect();
            let weight: Option<Vec<f32>> = weighted.then(|| (0..c).map(|i| 0.5 + (i % 4) as f32).collect());
            let row_weight: Option<Vec<f32>> = weighted.then(|| (0..b).map(|i| [1.0, 0.0, 2.5][i % 3]).collect());
            let normalizer = 3.5;
            let target = CrossEntropy {
                labels: labels.clone(),
                class_weight: weight.clone(),
                row_weight: row_weight.clone(),
                label_smoothing: smooth,
                normalizer,
            };
            let of = move |i: usize| weight.as_ref().map_or(1.0, |w| f64::from(w[i]));
            let of_row = move |i: usize| row_weight.as_ref().map_or(1.0, |w| f64::from(w[i]));
            let e = f64::from(smooth);
            check(
                "cross entropy",
                &[random(1, &[b, c])?],
                |a| cross_entropy(&a[0], target.clone()),
                |v| {
                    let mut total = 0.0;
                    for (at, (row, label)) in v[0].chunks(c).zip(&labels).enumerate() {
                        let Some(y) = *label else { continue };
                        let lse = row.iter().map(|z| z.exp()).sum::<f64>().ln();
                        let hard = (1.0 - e) * of(y as usize) * (row[y as usize] - lse);
                        let all = row.iter().enumerate().map(|(i, z)| of(i) * (z - lse)).sum::<f64>();
                        total -= of_row(at) * (hard + e / c as f64 * all);
                    }
                    vec![total / normalizer]
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn binary_cross_entropy_when_weighted_agrees_forward_and_backward() -> Outcome {
    for (b, c) in [(1usize, 1usize), (9, 7)] {
        let targets: Vec<f32> = (0..b * c).map(|i| [0.0, 1.0, 0.25][i % 3]).collect();
        let weight: Vec<f32> = (0..c).map(|i| 0.5 + i as f32).collect();
        let normalizer = (b * c) as f64;
        let row_weight: Vec<f32> = (0..b).map(|i| [2.0, 0.5, 0.0][i % 3]).collect();
        let target = BinaryCrossEntropy {
            targets: targets.clone(),
            class_weight: Some(weight.clone()),
            row_weight: Some(row_weight.clone()),
            normalizer,
        };
        check(
            "binary cross entropy",
            &[random(1, &[b, c])?],
            |a| binary_cross_entropy(&a[0], target.clone()),
            |v| {
                let loss = |(i, z): (usize, &f64)| {
                    let t = f64::from(targets[i]);
                    -f64::from(weight[i % c] * row_weight[i / c])
                        * (t * (1.0 / (1.0 + (-z).exp())).ln() + (1.0 - t) * (1.0 / (1.0 + z.exp())).ln())
                };
                vec![v[0].iter().enumerate().map(loss).sum::<f64>() / normalizer]
            },
        )?;
    }
    Ok(())
}

#[test]
fn regression_loss_when_weighted_agrees_forward_and_backward() -> Outcome {
    let (b, c) = (9usize, 3usize);
    let x = random(1, &[b, c])?;
    // Away from the corners of the pinball by more than the step of the differences, on both sides of Huber's border.
    let residuals = [0.31f32, -0.74, 1.9, -2.3, 0.05, -0.06];
    let at = x.values()?;
    let targets: Vec<f32> = at.iter().enumerate().map(|(i, p)| p - residuals[i % 6]).collect();
    drop(at);
    let row_weight: Vec<f32> = (0..b).map(|i| [2.0, 0.5, 0.0][i % 3]).collect();
    let penalties = [Penalty::Squared, Penalty::Huber { delta: 0.6 }, Penalty::Pinball { quantile: 0.8 }];
    let normalizer = 11.0;
    for weights in [None, Some(row_weight)] {
        // Each output has each of the penalties once.
        for turn in 0..c {
            let penalties: Vec<Penalty> = (0..c).map(|i| penalties[(i + turn) % c]).collect();
            let target =
                RegressionLoss { targets: targets.clone(), penalties, row_weight: weights.clone(), normalizer };
            check(
                "regression loss",
                std::slice::from_ref(&x),
                |a| regression_loss(&a[0], target.clone()),
                |v| {
                    let loss = |(i, p): (usize, &f64)| {
                        let r = p - f64::from(targets[i]);
                        let cost = match (i % c + turn) % c {
                            0 => r * r,
                            1 if r.abs() < 0.6 => 0.5 * r * r,
                            1 => 0.6 * r.abs() - 0.18,
                            _ => (0.8 * -r).max(0.2 * r),
                        };
                        weights.as_ref().map_or(1.0, |w| f64::from(w[i / c])) * cost
                    };
                    vec![v[0].iter().enumerate().map(loss).sum::<f64>() / normalizer]
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn segment_pool_when_lengths_are_odd_agrees_forward_and_backward() -> Outcome {
    let starts = vec![0u32, 1, 8, 8, 31];
    for reduction in [Reduction::Mean, Reduction::MeanSqrtLen, Reduction::WeightedMean, Reduction::Max] {
        let (d, cu) = (5, Arc::<[u32]>::from(starts.clone()));
        check(
            "segment pool",
            &[random(1, &[31, d])?],
            |a| segment_pool(&a[0], cu.clone(), reduction),
            |v| {
                let pool = |w: &[u32], j: usize| {
                    let column = (w[0]..w[1]).map(|t| v[0][t as usize * d + j]);
                    match reduction {
                        _ if w[0] == w[1] => 0.0,
                        Reduction::Mean => column.sum::<f64>() / f64::from(w[1] - w[0]),
                        Reduction::MeanSqrtLen => column.sum::<f64>() / f64::from(w[1] - w[0]).sqrt(),
                        Reduction::WeightedMean => {
                            let weights = 1..=w[1] - w[0];
                            column.zip(weights.clone()).map(|(x, weight)| x * f64::from(weight)).sum::<f64>()
                                / f64::from(weights.sum::<u32>())
                        }
                        Reduction::Max => column.fold(f64::MIN, f64::max),
                    }
                };
                starts.windows(2).flat_map(|w| (0..d).map(move |j| (w, j))).map(|(w, j)| pool(w, j)).collect()
            },
        )?;
    }
    Ok(())
}

#[test]
fn side_by_side_when_widths_differ_agrees_forward_and_backward() -> Outcome {
    let parts = [random(1, &[7, 1])?, random(2, &[7, 5])?, random(3, &[7, 3])?];
    check("side by side", &parts, side_by_side, |v| {
        (0..7).flat_map(|row| [(0, 1), (1, 5), (2, 3)].map(|(i, d)| v[i][row * d..][..d].to_vec())).flatten().collect()
    })?;
    assert!(side_by_side(&[]).is_err());
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn results_when_the_number_of_threads_changes_are_the_same_bytes() -> Outcome {
    use warmstart::compute::{in_pool, set_num_threads};
    let starts: Arc<[u32]> = vec![0, 100, 333, 700].into();
    let run = |precision| -> Result<Vec<Vec<u32>>> {
        let (params, gradients) = parameters(&[random(1, &[700, 96])?, random(2, &[96, 96])?, random(3, &[96])?])?;
        let (x, w, b) = (&params[0], &params[1], &params[2]);
        let drop = Some(Dropout::new(0.1, Key::new(1, Stream::Dropout)));
        let y = linear(x, w, Some(b), Some(Activation::Gelu), precision)?;
        let y = attention(&y, &y, &y, starts.clone(), 4, drop, precision)?;
        let y = residual_norm(&y, x, &layer_norm(b, b, 1e-5), drop)?;
        let ids: Arc<[u32]> = (0..900u32).map(|i| i * 31 % 700).collect();
        let y = embedding_sum(&[(&y, ids.clone()), (x, ids)])?;
        let y = segment_pool(&y, vec![0, 450, 900].into(), Reduction::Max)?;
        let values = y.array().values()?.to_vec();
        // The derivative of the sum of squares.
        weighted_sum(&[(&y, &values.iter().map(|y| 2.0 * y).collect::<Vec<f32>>())])?.backward()?;
        let all = [Some(values)].into_iter().chain(collected(&gradients));
        Ok(all.map(|v| v.unwrap().into_iter().map(f32::to_bits).collect()).collect())
    };
    let mut results = Vec::new();
    for threads in [1, 2, 3, 8] {
        set_num_threads(threads);
        results.push(in_pool(|| Ok::<_, warmstart::error::Error>([run(Precision::F32)?, run(Precision::Bf16)?]))?);
    }
    set_num_threads(0);
    assert!(results.windows(2).all(|w| w[0] == w[1]));
    Ok(())
}
