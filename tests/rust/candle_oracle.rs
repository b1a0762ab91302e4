//! Operations against the same composed of candle's in f64: values, and gradients by candle's own autograd.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor, Var as CandleVar};
use candle_nn::{Linear, Module, loss, ops};
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::StorageDtype;
use warmstart::error::Result;
use warmstart::matmul::Precision;
use warmstart::ops::activation::Activation;
use warmstart::ops::affine::Affine;
use warmstart::ops::attention::{Rotary, Scheme, Span, attention};
use warmstart::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use warmstart::ops::columns::side_by_side;
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::ops::embedding::{embedding, embedding_sum, stacked_rows};
use warmstart::ops::gated::gated;
use warmstart::ops::norm::{Kind, Norm, norm, residual_norm};
use warmstart::ops::regression_loss::{Penalty, RegressionLoss, regression_loss};
use warmstart::ops::segment_pool::{Reduction, segment_pool};
use warmstart::ops::vocabulary_loss::vocabulary_loss;

use crate::tests::checks::{Outcome, TOLERANCE, assert_close};
use crate::tests::ops::{collected, f64s, layer_norm, linear, parameters, random, scaled, weighted_sum};

type CandleResult = candle_core::Result<Tensor>;

/// f32 rounding of sums of products of up to about a hundred terms, and of `1 - tanh^2` where it is nearly 0, relative to the
/// largest value.
const GRADIENT_TOLERANCE: f64 = 1e-5;

/// The output of `ours` and the gradients of `sum(w y)` against those of `candles`, all arguments being parameters.
fn compare(
    what: &str,
    args: &[Array],
    ours: impl Fn(&[Var]) -> Result<Var>,
    candles: impl Fn(&[Tensor]) -> CandleResult,
) -> Outcome {
    let (values, gradients) = parameters(args)?;
    let y = ours(&values)?;
    let variable = |array: &Array| Ok(CandleVar::from_tensor(&Tensor::try_from(array.clone())?.to_dtype(DType::F64)?)?);
    let variables = args.iter().map(variable).collect::<Result<Vec<_>>>()?;
    let expected = candles(&variables.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
    assert_eq!(y.array().dims(), expected.dims(), "{what}");
    let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
    assert_close(what, &f64s(y.array())?, &flat(&expected)?, TOLERANCE);
    let weights = random(99, y.array().dims())?;
    weighted_sum(&[(&y, &weights.values()?)])?.backward()?;
    let expected = (expected * Tensor::try_from(weights)?.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
    for (i, (got, variable)) in collected(&gradients).into_iter().zip(&variables).enumerate() {
        let got: Vec<f64> = got.ok_or("no gradient of ours")?.into_iter().map(f64::from).collect();
        let expected = flat(expected.get(variable).ok_or("no gradient of candle's")?)?;
        assert_close(&format!("{what}: gradient of argument {i}"), &got, &expected, GRADIENT_TOLERANCE);
    }
    Ok(())
}

fn activated(x: &Tensor, activation: Activation) -> CandleResult {
    match activation {
        // The constants in candle's derivatives of its own GELUs have six digits.
        Activation::Gelu => (x / 2.0)? * ((x / 2f64.sqrt())?.erf()? + 1.0)?,
        Activation::GeluTanh => {
            let inner = ((x + (x.powf(3.0)? * 0.044_715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
            (x / 2.0)? * (inner.tanh()? + 1.0)?
        }
        Activation::Silu => x.silu(),
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
    }
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu, Activation::Tanh];

#[test]
fn linear_when_composed_of_candles_operations_agrees() -> Outcome {
    for [t, d, n] in [[1, 1, 1], [7, 33, 5], [65, 17, 129]] {
        let args = [random(1, &[t, d])?, random(2, &[n, d])?, random(3, &[n])?];
        for activation in [None].into_iter().chain(ACTIVATIONS.map(Some)) {
            compare(
                &format!("linear {activation:?}"),
                &args,
                |a| linear(&a[0], &a[1], Some(&a[2]), activation, Precision::F32),
                |a| {
                    let y = Linear::new(a[1].clone(), Some(a[2].clone())).forward(&a[0])?;
                    activation.map_or(Ok(y.clone()), |activation| activated(&y, activation))
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn activations_when_composed_of_candles_operations_agree() -> Outcome {
    for activation in ACTIVATIONS {
        // Of the second, most are far from 0: where tanh is flat, small errors meet the cube of x.
        for factor in [1.0, 30.0] {
            let args = [scaled(&random(1, &[7, 131])?, factor)?, random(2, &[7, 131])?];
            let what = format!("{activation:?} of values times {factor}");
            compare(
                &format!("gated {what}"),
                &args,
                |a| gated(&a[0], &a[1], activation, StorageDtype::F32),
                |a| activated(&a[0], activation)? * &a[1],
            )?;
        }
    }
    Ok(())
}

#[test]
fn norms_when_composed_of_candles_operations_agree() -> Outcome {
    for [t, d] in [[1, 3], [7, 33], [65, 129]] {
        let args = [random(1, &[t, d])?, random(2, &[d])?, random(3, &[d])?, random(4, &[t, d])?];
        let layer = |a: &[Var]| layer_norm(&a[1], &a[2], f64::from(1e-5f32));
        let slow = |x: &Tensor, a: &[Tensor]| ops::layer_norm_slow(x, &a[1], &a[2], 1e-5);
        compare("layer norm", &args[..3], |a| norm(&a[0], &layer(a)), |a| slow(&a[0], a))?;
        compare(
            "residual layer norm",
            &args,
            |a| residual_norm(&a[0], &a[3], &layer(a), None),
            |a| slow(&(&a[0] + &a[3])?, a),
        )?;
        let rms =
            |a: &[Var]| Norm { kind: Kind::RootMeanSquare, weight: a[1].clone(), bias: None, eps: f64::from(1e-6f32) };
        let slow = |a: &[Tensor]| ops::rms_norm_slow(&a[0], &a[1], 1e-6);
        compare("rms norm", &args[..2], |a| norm(&a[0], &rms(a)), slow)?;
    }
    Ok(())
}

/// Attention of `[T, heads * size]` within each sequence; `near(i, j)` says whether the query at `i` sees the key at `j`. Pairs `(j, j +
/// size / 2)` are turned by `position * frequencies[j]`.
fn composed_attention(
    a: &[Tensor],
    starts: &[u32],
    [heads, key_heads]: [usize; 2],
    near: impl Fn(usize, usize) -> bool,
    frequencies: &[f64],
) -> CandleResult {
    let size = a[0].dim(1)? / heads;
    let sequence = |w: &[u32]| {
        let (first, n) = (w[0] as usize, (w[1] - w[0]) as usize);
        let angles: Vec<f64> = (0..n).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f)).collect();
        let angles = Tensor::from_vec(angles, (n, 1, frequencies.len()), &Device::Cpu)?;
        let turned = |x: &Tensor| {
            let (cos, sin) = (angles.cos()?, angles.sin()?);
            let (x, y) = (x.narrow(2, 0, size / 2)?, x.narrow(2, size / 2, size / 2)?);
            let left = (x.broadcast_mul(&cos)? - y.broadcast_mul(&sin)?)?;
            Tensor::cat(&[left, (y.broadcast_mul(&cos)? + x.broadcast_mul(&sin)?)?], 2)
        };
        // [heads, n, size]; several heads of queries share one of keys.
        let split = |x: &Tensor, of: usize, turn: bool| {
            let x = x.narrow(0, first, n)?.reshape((n, of, size))?;
            let x = if turn && !frequencies.is_empty() { turned(&x)? } else { x };
            let shared = x.unsqueeze(2)?.broadcast_as((n, of, heads / of, size))?;
            shared.contiguous()?.reshape((n, heads, size))?.transpose(0, 1)?.contiguous()
        };
        let (q, k, v) = (split(&a[0], heads, true)?, split(&a[1], key_heads, true)?, split(&a[2], key_heads, false)?);
        let hidden = (0..n * n).map(|at| if near(at / n, at % n) { 0.0 } else { f64::NEG_INFINITY }).collect();
        let hidden = Tensor::from_vec(hidden, (1, n, n), &Device::Cpu)?;
        let scores = (q.matmul(&k.t()?)? / (size as f64).sqrt())?.broadcast_add(&hidden)?;
        ops::softmax(&scores, D::Minus1)?.matmul(&v)?.transpose(0, 1)?.reshape((n, heads * size))
    };
    Tensor::cat(&starts.windows(2).map(sequence).collect::<candle_core::Result<Vec<_>>>()?, 0)
}

#[test]
fn attention_when_composed_of_candles_operations_agrees() -> Outcome {
    let starts: Arc<[u32]> = Arc::from([0, 1, 6, 45]);
    let frequencies = [1.0, 0.1, 0.01];
    for (heads, key_heads, size, rotary) in [(1, 1, 5, false), (4, 2, 6, true), (6, 2, 6, false)] {
        let args =
            [random(1, &[45, heads * size])?, random(2, &[45, key_heads * size])?, random(3, &[45, key_heads * size])?];
        for (name, span) in [("all", Span::ALL), ("causal", Span::CAUSAL), ("near", Span { before: 3, after: 2 })] {
            let rotary = rotary.then(|| Arc::new(Rotary::new(&frequencies, 40, 1.0)));
            let turns: &[f64] = if rotary.is_some() { &frequencies } else { &[] };
            let scheme = Scheme { cu_seqlens: starts.clone(), heads, key_heads, span, rotary, dropout: None };
            let near = |i: usize, j: usize| i.saturating_sub(j) <= span.before && j.saturating_sub(i) <= span.after;
            compare(
                &format!("attention {name}, {heads} heads"),
                &args,
                |a| attention(&a[0], &a[1], &a[2], scheme.clone(), Precision::F32),
                |a| composed_attention(a, &starts, [heads, key_heads], near, turns),
            )?;
        }
    }
    Ok(())
}

#[test]
fn row_lookups_when_composed_of_candles_operations_agree() -> Outcome {
    let (args, n) = ([random(1, &[7, 5])?, random(2, &[3, 5])?], 131u32);
    let ids: [Arc<[u32]>; 3] = [7, 3, 10].map(|v| (0..n).map(|i| i * 11 % v).collect());
    let at = |i: usize| Tensor::from_slice(&ids[i], n as usize, &Device::Cpu);
    compare(
        "embedding",
        &args[..1],
        |a| embedding(&a[0], ids[0].clone()),
        |a| candle_nn::Embedding::new(a[0].clone(), 5).forward(&at(0)?),
    )?;
    compare(
        "embedding sum",
        &args,
        |a| embedding_sum(&[(&a[0], ids[0].clone()), (&a[1], ids[1].clone())]),
        |a| a[0].index_select(&at(0)?, 0)? + a[1].index_select(&at(1)?, 0)?,
    )?;
    compare(
        "stacked rows",
        &args,
        |a| stacked_rows(&[&a[0], &a[1]], ids[2].clone()),
        |a| Tensor::cat(&[&a[0], &a[1]], 0)?.index_select(&at(2)?, 0),
    )
}

#[test]
fn columns_when_composed_of_candles_operations_agree() -> Outcome {
    let args = [random(1, &[7, 13])?, random(2, &[7, 13])?, random(3, &[7, 5])?];
    compare("side by side", &args, side_by_side, |a| Tensor::cat(a, 1))
}

#[test]
fn pooling_when_composed_of_candles_operations_agrees() -> Outcome {
    let (starts, args): (Arc<[u32]>, _) = (Arc::from([0, 1, 4, 37]), [random(1, &[37, 13])?]);
    for reduction in [Reduction::Mean, Reduction::MeanSqrtLen, Reduction::WeightedMean, Reduction::Max] {
        let pooled = |x: &Tensor| -> CandleResult {
            let n = x.dim(0)?;
            let counts = Tensor::from_vec((1..=n).map(|i| i as f64).collect(), (n, 1), &Device::Cpu)?;
            match reduction {
                Reduction::Mean => x.mean_keepdim(0),
                Reduction::MeanSqrtLen => x.sum_keepdim(0)? / (n as f64).sqrt(),
                Reduction::WeightedMean => {
                    x.broadcast_mul(&counts)?.sum_keepdim(0)?.broadcast_div(&counts.sum_keepdim(0)?)
                }
                Reduction::Max => x.max_keepdim(0),
            }
        };
        compare(
            &format!("{reduction:?}"),
            &args,
            |a| segment_pool(&a[0], starts.clone(), reduction),
            |a| {
                let sequence = |w: &[u32]| pooled(&a[0].narrow(0, w[0] as usize, (w[1] - w[0]) as usize)?);
                Tensor::cat(&starts.windows(2).map(sequence).collect::<candle_core::Result<Vec<_>>>()?, 0)
            },
        )?;
    }
    Ok(())
}

#[test]
fn losses_when_composed_of_candles_operations_agree() -> Outcome {
    for [b, c] in [[3, 2], [7, 5], [65, 131]] {
        let labels: Vec<u32> = (0..b as u32).map(|i| i * 7 % c as u32).collect();
        let target = CrossEntropy {
            labels: labels.iter().copied().map(Some).collect(),
            class_weight: None,
            row_weight: None,
            label_smoothing: 0.0,
            normalizer: b as f64,
        };
        let labels = Tensor::from_vec(labels, b, &Device::Cpu)?;
        let logits = [random(1, &[b, c])?];
        compare(
            "cross entropy",
            &logits,
            |a| cross_entropy(&a[0], target.clone()),
            |a| loss::cross_entropy(&a[0], &labels),
        )?;
        let hidden = [random(2, &[b, 9])?, random(3, &[c, 9])?, random(4, &[c])?];
        compare(
            "vocabulary loss",
            &hidden,
            |a| {
                let map = Affine::new(&a[1], Some(&a[2]))?;
                vocabulary_loss(&a[0], &map, target.labels.clone(), b as f64, Precision::F32)
            },
            |a| loss::cross_entropy(&Linear::new(a[1].clone(), Some(a[2].clone())).forward(&a[0])?, &labels),
        )?;
        let targets: Vec<f32> = (0..b * c).map(|i| (i * 5 % 4) as f32 / 3.0).collect();
        let target = BinaryCrossEntropy {
            targets: targets.clone(),
            class_weight: None,
            row_weight: None,
            normalizer: (b * c) as f64,
        };
        let targets = Tensor::from_vec(targets, (b, c), &Device::Cpu)?.to_dtype(DType::F64)?;
        compare(
            "binary cross entropy",
            &logits,
            |a| binary_cross_entropy(&a[0], target.clone()),
            |a| loss::binary_cross_entropy_with_logit(&a[0], &targets),
        )?;
        let numbers: Vec<f32> = (0..b * c).map(|i| (i * 7 % 11) as f32 / 4.0 - 1.3).collect();
        let tensor = Tensor::from_vec(numbers.clone(), (b, c), &Device::Cpu)?.to_dtype(DType::F64)?;
        for penalty in [Penalty::Squared, Penalty::Huber { delta: 0.75 }] {
            let target = RegressionLoss {
                targets: numbers.clone(),
                penalties: vec![penalty; c],
                row_weight: None,
                normalizer: (b * c) as f64,
            };
            compare(
                "regression loss",
                &logits,
                |a| regression_loss(&a[0], target.clone()),
                |a| match penalty {
                    Penalty::Squared => loss::mse(&a[0], &tensor),
                    _ => loss::huber(&a[0], &tensor, 0.75),
                },
            )?;
        }
    }
    Ok(())
}
