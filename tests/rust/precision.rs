//! Products in bf16 and int8: what they equal exactly, how far rounding may take them from f64 formulas, and that neither
//! threads nor company change a bit.
//!
//! Bounds. Rounding to bf16, which has 8 significant bits, is off by [`U`] = 2^-8 of the value at most, so that a product of
//! two rounded operands is off by [`PAIR`] = (1 + U)^2 - 1, about 2^-7, of its size. A sum of products is off by that times
//! the sum of absolute terms, plus f32's rounding, for which [`F32`] of the same sum is ample at these depths. What follows
//! from several products adds up the errors of each, to first order; [`SECOND_ORDER`] covers the rest.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::StorageDtype;
use warmstart::error::Result;
use warmstart::matmul::{Format, Precision};
use warmstart::ops::activation::Activation;
use warmstart::ops::linear::{Added, Epilogue, Frozen, frozen_linear};

use crate::tests::checks::activate;
use crate::tests::operations::attention_formula;
use crate::tests::ops::{
    as_type, attention, collected, f64s, frozen, linear, parameters, random, scaled, weighted_sum,
};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const U: f64 = 1.0 / 256.0;
const PAIR: f64 = (1.0 + U) * (1.0 + U) - 1.0;
const F32: f64 = 1e-6;
const SECOND_ORDER: f64 = 1.1;

/// [T, K], [N, K]; more than one range of depth, rows and columns that fill no tile.
const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [7, 5, 3], [15, 33, 17], [130, 7, 65], [3, 1023, 33]];

fn to_bf16(values: &[f64]) -> Result<Vec<f64>> {
    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(tensor.to_dtype(DType::BF16)?.to_dtype(DType::F64)?.to_vec1()?)
}

/// `|got - expected| <= bound` for each value; the largest part of its bound that an error takes up.
fn within(what: &str, got: &[f64], expected: &[f64], bounds: &[f64]) -> f64 {
    assert!(got.len() == expected.len() && got.len() == bounds.len(), "{what}");
    let mut worst = 0f64;
    for (i, ((g, e), b)) in got.iter().zip(expected).zip(bounds).enumerate() {
        assert!((g - e).abs() <= *b, "{what}[{i}]: got {g}, expected {e} within {b}");
        worst = worst.max((g - e).abs() / b);
    }
    worst
}

/// `a [m, k] b [n, k]^T`.
fn matmul(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let at = |i: usize, j: usize| (0..k).map(|d| a[i * k + d] * b[j * k + d]).sum();
    (0..m * n).map(|i| at(i / n, i % n)).collect()
}

fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..a.len()).map(|i| a[i % rows * columns + i / rows]).collect()
}

fn abs(values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| x.abs()).collect()
}

/// Central differences of `sum(weights * formula(args))` at every index of `args[a]` that is a multiple of `step`.
fn slopes(
    formula: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    args: &[Vec<f64>],
    weights: &[f64],
    a: usize,
    step: usize,
) -> Vec<f64> {
    let loss = |i: usize, h: f64| {
        let mut args = args.to_vec();
        args[a][i] += h;
        formula(&args).iter().zip(weights).map(|(y, w)| y * w).sum::<f64>()
    };
    (0..args[a].len()).step_by(step).map(|i| (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5).collect()
}

fn every(values: &[f64], step: usize) -> Vec<f64> {
    values.iter().copied().step_by(step).collect()
}

#[test]
fn linear_in_bf16_when_shapes_are_odd_is_the_product_of_rounded_operands() -> Outcome {
    for shape in SHAPES {
        let [t, k, n] = shape;
        let (x, w) = (random(1, &[t, k])?, random(2, &[n, k])?);
        let y = linear(&Var::constant(x.clone()), &Var::constant(w.clone()), None, None, Precision::Bf16)?;
        let (x, w) = (to_bf16(&f64s(&x)?)?, to_bf16(&f64s(&w)?)?);
        let bounds: Vec<f64> = matmul(&abs(&x), &abs(&w), shape).iter().map(|sum| F32 * sum).collect();
        within("linear", &f64s(y.array())?, &matmul(&x, &w, shape), &bounds);
    }
    Ok(())
}

#[test]
fn linear_in_bf16_when_differentiated_is_within_the_rounding_of_its_operands() -> Outcome {
    for kind in [None, Some(Activation::Gelu)] {
        for shape in SHAPES {
            let [t, k, n] = shape;
            let weight = scaled(&random(2, &[n, k])?, 1.0 / (k as f64).sqrt())?;
            let args = [random(1, &[t, k])?, weight];
            let (params, gradients) = parameters(&args)?;
            let y = linear(&params[0], &params[1], None, kind, Precision::Bf16)?;
            let dy: Vec<f32> = random(3, &[t * n])?.values()?.to_vec();
            weighted_sum(&[(&y, &dy)])?.backward()?;
            let values: Vec<Vec<f64>> = args.iter().map(f64s).collect::<Result<_>>()?;
            let (x, w) = (&values[0], &values[1]);
            let dy: Vec<f64> = dy.into_iter().map(f64::from).collect();
            let pre = matmul(x, w, shape);
            let sizes = matmul(&abs(x), &abs(w), shape);
            // g = dy f'(pre): |f'| of GELU is below 1.13, and |f''| below 0.8, which is what an error of pre becomes.
            let h = 1e-5;
            let slope = |p: f64| (activate(kind, p + h) - activate(kind, p - h)) / (2.0 * h);
            let (mut g, mut error) = (vec![], vec![]);
            for ((dy, pre), size) in dy.iter().zip(&pre).zip(&sizes) {
                g.push((dy * slope(*pre)).abs());
                let bent = if kind.is_some() { 0.8 * dy.abs() * PAIR * size } else { 0.0 };
                error.push(bent + (PAIR + F32) * (dy * slope(*pre)).abs() + 1e-6 * dy.abs());
            }
            // The terms of dx = g W and dW = g^T x have the error of g beside that of their own rounding, in `error`.
            let dx = matmul(&error, &transposed(&abs(w), n, k), [t, n, k]);
            let dw = matmul(&transposed(&error, t, n), &transposed(&abs(x), t, k), [n, t, k]);
            let formula = |v: &[Vec<f64>]| matmul(&v[0], &v[1], shape).iter().map(|p| activate(kind, *p)).collect();
            for (a, (got, bounds)) in collected(&gradients).into_iter().zip([dx, dw]).enumerate() {
                let got: Vec<f64> = got.ok_or("no gradient")?.into_iter().map(f64::from).collect();
                let step = got.len().div_ceil(40);
                let bounds: Vec<f64> = every(&bounds, step).iter().map(|b| SECOND_ORDER * b + 1e-8).collect();
                let expected = slopes(formula, &values, &dy, a, step);
                within(&format!("linear {shape:?} {kind:?}: gradient {a}"), &every(&got, step), &expected, &bounds);
            }
        }
    }
    Ok(())
}

/// How far rounding may take `o, dq, dk, dv` of attention.
struct Bounds([Vec<f64>; 4]);

impl Bounds {
    /// Scores are off by `e = PAIR sum |q k| / sqrt(d)`, the largest of the row; so each probability by a factor of
    /// `r = exp(2 e) - 1`, and terms of `P V` and `P^T dO` by `r + PAIR`. `dO V^T` is off by `PAIR sum |dO v|`, and
    /// `dO . O` by `(r + PAIR) sum |dO| P |v|`; both enter `dS = P (dO V^T - dO . O)`, whose own rounding and that of its
    /// partner are `PAIR` of each term of `dS K` and `dS^T Q`.
    fn new(v: &[Vec<f64>], grad: &[f64], starts: &[u32], heads: usize, width: usize) -> Self {
        let d = width / heads;
        let scale = 1.0 / (d as f64).sqrt();
        let (q, k, values) = (&v[0], &v[1], &v[2]);
        let mut bounds = [(); 4].map(|()| vec![0.0; grad.len()]);
        for (w, head) in starts.windows(2).flat_map(|w| (0..heads).map(move |head| (w, head))) {
            let rows = w[0] as usize..w[1] as usize;
            let at = |t: usize, j: usize| t * width + head * d + j;
            let dot = |a: &[f64], i: usize, b: &[f64], t: usize, f: fn(f64) -> f64| {
                (0..d).map(|j| f(a[at(i, j)] * b[at(t, j)])).sum::<f64>()
            };
            for i in rows.clone() {
                let scores: Vec<f64> = rows.clone().map(|t| (scale * dot(q, i, k, t, |x| x)).exp()).collect();
                let sum: f64 = scores.iter().sum();
                let p: Vec<f64> = scores.iter().map(|s| s / sum).collect();
                let e = rows.clone().map(|t| PAIR * scale * dot(q, i, k, t, f64::abs)).fold(0.0, f64::max);
                let r = (2.0 * e).exp() - 1.0 + F32;
                let (mut delta, mut delta_size) = (0.0, 0.0);
                for (t, p) in rows.clone().zip(&p) {
                    delta += p * dot(grad, i, values, t, |x| x);
                    delta_size += p * dot(grad, i, values, t, f64::abs);
                }
                for (t, p) in rows.clone().zip(&p) {
                    let (dp, dp_size) = (dot(grad, i, values, t, |x| x), dot(grad, i, values, t, f64::abs));
                    let ds = p * (dp - delta).abs();
                    let ds_error = ds * (r + PAIR) + p * (PAIR * dp_size + (r + PAIR) * delta_size);
                    for j in 0..d {
                        bounds[0][at(i, j)] += (r + PAIR) * p * values[at(t, j)].abs();
                        bounds[1][at(i, j)] += scale * ds_error * k[at(t, j)].abs();
                        bounds[2][at(t, j)] += scale * ds_error * q[at(i, j)].abs();
                        bounds[3][at(t, j)] += (r + PAIR) * p * grad[at(i, j)].abs();
                    }
                }
            }
        }
        Self(bounds.map(|b| b.iter().map(|b| SECOND_ORDER * b + 1e-6).collect()))
    }
}

#[test]
fn attention_in_bf16_when_lengths_are_odd_is_within_the_rounding_of_its_operands() -> Outcome {
    for (lengths, heads, d) in [(vec![1u32], 1, 1), (vec![3, 0, 5, 1], 2, 7), (vec![67, 64, 15], 3, 8)] {
        let mut starts = vec![0u32];
        for n in &lengths {
            starts.push(starts.last().copied().unwrap_or(0) + n);
        }
        let (t, width) = (starts[lengths.len()] as usize, heads * d);
        let args = [random(1, &[t, width])?, random(2, &[t, width])?, random(3, &[t, width])?];
        let (params, gradients) = parameters(&args)?;
        let cu: Arc<[u32]> = starts.clone().into();
        let y = attention(&params[0], &params[1], &params[2], cu, heads, None, Precision::Bf16)?;
        let dy: Vec<f32> = random(4, &[t * width])?.values()?.to_vec();
        weighted_sum(&[(&y, &dy)])?.backward()?;
        let dy: Vec<f64> = dy.into_iter().map(f64::from).collect();
        let values: Vec<Vec<f64>> = args.iter().map(f64s).collect::<Result<_>>()?;
        let formula = |v: &[Vec<f64>]| attention_formula(v, &starts, heads, width);
        let Bounds([forward, backward @ ..]) = Bounds::new(&values, &dy, &starts, heads, width);
        let used = within("attention", &f64s(y.array())?, &formula(&values), &forward);
        // Far from zero, or nothing was rounded and the bound says nothing.
        assert!(t == 1 || used > 0.01, "{lengths:?}: an error of {used} of its bound");
        for (a, (got, bounds)) in collected(&gradients).into_iter().zip(backward).enumerate() {
            let got: Vec<f64> = got.ok_or("no gradient")?.into_iter().map(f64::from).collect();
            let step = got.len().div_ceil(40);
            let expected = slopes(formula, &values, &dy, a, step);
            within(&format!("attention: gradient {a}"), &every(&got, step), &expected, &every(&bounds, step));
        }
    }
    Ok(())
}

fn bits(y: &Var) -> Result<Vec<u32>> {
    Ok(y.array().values()?.to_vec().into_iter().map(f32::to_bits).collect())
}

#[test]
fn frozen_linear_when_compared_with_linear_is_the_same_bytes() -> Outcome {
    for [t, k, n] in SHAPES {
        let [x, w, b] = [random(1, &[t, k])?, random(2, &[n, k])?, random(3, &[n])?].map(Var::constant);
        for precision in [Precision::F32, Precision::Bf16] {
            for (bias, kind) in [(None, None), (Some(&b), Some(Activation::Gelu))] {
                let frozen = frozen(&w, bias, precision)?;
                let expected = bits(&linear(&x, &w, bias, kind, precision)?)?;
                // The first time from where the weight lies, then packed.
                for time in 0..2 {
                    let got = bits(&frozen_linear(&x, &frozen, &Added::NONE, kind.into(), StorageDtype::F32)?)?;
                    assert_eq!(got, expected, "{t}x{k}x{n} {precision:?} {time}");
                }
            }
        }
    }
    Ok(())
}

/// With results in bf16.
const NARROW: Format = Format { precision: Precision::Bf16, result: StorageDtype::Bf16 };

/// The bits of values kept in bf16, as those of f32.
fn wide(y: &Var) -> Result<Vec<u32>> {
    bits(&Var::constant(as_type(y.array(), DType::F32)?))
}

fn rounded(x: &Array) -> Result<Array> {
    as_type(&as_type(x, DType::BF16)?, DType::F32)
}

#[test]
fn linear_when_its_result_is_kept_in_bf16_is_that_of_f32_rounded() -> Outcome {
    for [t, k, n] in SHAPES {
        let [x, w, b] = [random(1, &[t, k])?, random(2, &[n, k])?, random(3, &[n])?].map(Var::constant);
        for (bias, kind) in [(None, None), (Some(&b), Some(Activation::Gelu))] {
            let y = linear(&x, &w, bias, kind, Precision::Bf16)?;
            let narrow = linear(&x, &w, bias, kind, NARROW)?;
            assert_eq!(narrow.array().dtype(), DType::BF16);
            let expected = bits(&Var::constant(rounded(y.array())?))?;
            assert_eq!(wide(&narrow)?, expected, "{t}x{k}x{n}");
            let frozen = frozen(&w, bias, Precision::Bf16)?;
            assert_eq!(
                wide(&frozen_linear(&x, &frozen, &Added::NONE, kind.into(), StorageDtype::Bf16)?)?,
                expected,
                "{t}x{k}x{n}"
            );
        }
    }
    Ok(())
}

#[test]
fn gradients_when_values_are_kept_in_bf16_are_those_of_the_same_values_in_f32() -> Outcome {
    // Without an activation nothing but operands is rounded: the same bytes.
    let lengths = [57u32, 0, 1, 73];
    let starts: Arc<[u32]> = lengths
        .iter()
        .fold(vec![0], |mut all, n| {
            all.push(all[all.len() - 1] + n);
            all
        })
        .into();
    let (t, d, n) = (131, 36, 45);
    let weights = [random(1, &[d, d])?, random(2, &[d, d])?, random(3, &[d, d])?, random(4, &[n, d])?];
    let x = Var::constant(random(5, &[t, d])?);
    let dy: Vec<f32> = random(6, &[t * n])?.values()?.to_vec();
    let run = |format: Format| -> Result<Vec<Vec<u32>>> {
        let (params, gradients) = parameters(&weights)?;
        let part = |i: usize| -> Result<Var> { linear(&x, &params[i], None, None, format) };
        let attended = attention(&part(0)?, &part(1)?, &part(2)?, starts.clone(), 3, None, format)?;
        let y = linear(&attended, &params[3], None, None, Precision::Bf16)?;
        weighted_sum(&[(&y, &dy)])?.backward()?;
        let all = collected(&gradients).into_iter().flatten();
        Ok(all.map(|gradient| gradient.into_iter().map(f32::to_bits).collect()).collect())
    };
    let (wide, narrow) = (run(Precision::Bf16.into())?, run(NARROW)?);
    assert_eq!((wide.len(), narrow.len()), (4, 4));
    assert_eq!(narrow, wide);
    Ok(())
}

#[test]
fn gelu_when_its_input_is_kept_in_bf16_has_the_slope_there() -> Outcome {
    let (t, k, n) = (19, 33, 270);
    let args = [random(1, &[t, k])?, scaled(&random(2, &[n, k])?, 0.2)?];
    let dy: Vec<f32> = random(3, &[t * n])?.values()?.to_vec();
    let run = |format: Format| -> Result<Vec<f32>> {
        let (params, gradients) = parameters(&args)?;
        // Onwards as an operand, whose gradient passes unchanged.
        let y = linear(&params[0], &params[1], None, Some(Activation::Gelu), format)?;
        let identity = Var::constant(Array::try_from(&Tensor::eye(n, DType::F32, &Device::Cpu)?)?);
        weighted_sum(&[(&linear(&y, &identity, None, None, Precision::F32)?, &dy)])?.backward()?;
        Ok(collected(&gradients).into_iter().flatten().flatten().collect())
    };
    let (wide, narrow) = (run(Precision::Bf16.into())?, run(NARROW)?);
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let wide: Vec<f64> = wide.into_iter().map(f64::from).collect();
    let difference: Vec<f64> = narrow.iter().zip(&wide).map(|(a, b)| f64::from(*a) - b).collect();
    // The slope of gelu changes by 0.8 at most from one x to x + 1: half a bit of x is U / 2 of it.
    assert!(norm(&difference) < U * norm(&wide) && norm(&difference) > 0.0, "{} {}", norm(&difference), norm(&wide));
    Ok(())
}

#[test]
fn frozen_linear_in_int8_when_shapes_are_odd_is_within_the_rounding_of_its_operands() -> Outcome {
    for shape in SHAPES {
        let [t, k, n] = shape;
        let (x, w, b) = (random(1, &[t, k])?, random(2, &[n, k])?, random(3, &[n])?);
        let map = [&w, &b].map(|tensor| Var::constant(tensor.clone()));
        let frozen = frozen(&map[0], Some(&map[1]), Precision::Int8)?;
        let y = frozen_linear(&Var::constant(x.clone()), &frozen, &Added::NONE, Epilogue::None, StorageDtype::F32)?;
        let (x, w, b) = (f64s(&x)?, f64s(&w)?, f64s(&b)?);
        let expected: Vec<f64> = matmul(&x, &w, shape).iter().enumerate().map(|(i, y)| y + b[i % n]).collect();
        // Each value is off by half a step at most, and a step is 1/127 of its row's largest value.
        let half = |row: &[f64]| row.iter().fold(0.0, |a: f64, x| a.max(x.abs())) / 254.0 * 1.001;
        let bound = |i: usize| {
            let (x, w) = (&x[i / n * k..][..k], &w[i % n * k..][..k]);
            let size = |row: &[f64]| row.iter().map(|x| x.abs()).sum::<f64>();
            half(x) * size(w) + half(w) * size(x) + k as f64 * half(x) * half(w) + 1e-5
        };
        within("int8", &f64s(y.array())?, &expected, &(0..t * n).map(bound).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn frozen_linear_in_int8_when_a_row_is_zero_tiny_or_not_a_number_says_so_in_that_row_alone() -> Outcome {
    let (k, n) = (37, 35);
    let (w, b) = (random(2, &[n, k])?, random(3, &[n])?);
    let ordinary: Vec<f32> = random(1, &[k])?.values()?.to_vec();
    let mut broken = ordinary.clone();
    broken[5] = f32::NAN;
    let mut infinite = ordinary.clone();
    infinite[36] = f32::INFINITY;
    let tiny = vec![1e-39f32; k];
    let rows = [vec![0f32; k], broken, ordinary.clone(), infinite, tiny].concat();
    let frozen = frozen(&Var::constant(w), Some(&Var::constant(b.clone())), Precision::Int8)?;
    let run = |x: Vec<f32>| -> Result<Vec<f32>> {
        let x = Var::constant(Array::new(x.clone(), (x.len() / k, k))?);
        Ok(frozen_linear(&x, &frozen, &Added::NONE, Epilogue::None, StorageDtype::F32)?.array().values()?.to_vec())
    };
    let (y, b) = (run(rows)?, b.values()?.to_vec());
    assert_eq!(y[..n], b);
    assert!(y[n..2 * n].iter().chain(&y[3 * n..4 * n]).all(|y| !y.is_finite()), "NaN became a number");
    assert_eq!(y[2 * n..3 * n], run(ordinary)?);
    assert_eq!(y[4 * n..], b, "values below what a scale can hold");
    Ok(())
}

#[test]
fn frozen_linear_in_int8_when_there_are_no_columns_is_refused() -> Outcome {
    let weight = frozen(&Var::constant(Array::new(vec![], (4, 0))?), None, Precision::Int8)?;
    let x = Var::constant(Array::new(vec![], (3, 0))?);
    assert!(frozen_linear(&x, &weight, &Added::NONE, Epilogue::None, StorageDtype::F32).is_err());
    Ok(())
}

#[test]
fn rows_when_computed_alone_are_the_same_bytes_as_together() -> Outcome {
    // Together there are several tasks of rows, and enough work for threads; alone there are not.
    let (t, k, n) = (131, 300, 77);
    let (x, w, b) = (random(1, &[t, k])?, Var::constant(random(2, &[n, k])?), Var::constant(random(3, &[n])?));
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let run = |frozen: &Frozen, first: usize, rows: usize| {
            let (x, then) = (Var::constant(x.rows(first, rows)?), Epilogue::Activation(Activation::Gelu));
            bits(&frozen_linear(&x, frozen, &Added::NONE, then, StorageDtype::F32)?)
        };
        let packed = frozen(&w, Some(&b), precision)?;
        let together = run(&packed, 0, t)?;
        for (first, rows) in [(0, 1), (13, 1), (130, 1), (14, 14), (60, 71)] {
            let expected = &together[first * n..][..rows * n];
            assert_eq!(run(&packed, first, rows)?, expected, "{precision:?} {first} {rows}");
            let not_packed = frozen(&w, Some(&b), precision)?;
            assert_eq!(run(&not_packed, first, rows)?, expected, "{precision:?} {first} {rows} not packed");
        }
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let starts = [0usize, 57, 58, 131];
        let [q, k, v] = [random(4, &[t, 48])?, random(5, &[t, 48])?, random(6, &[t, 48])?];
        let run = |first: usize, end: usize, cu: Vec<u32>| -> Result<Vec<u32>> {
            let part = |x: &Array| -> Result<Var> { Ok(Var::constant(x.rows(first, end - first)?)) };
            bits(&attention(&part(&q)?, &part(&k)?, &part(&v)?, cu.into(), 3, None, precision)?)
        };
        let together = run(0, t, starts.map(|s| s as u32).to_vec())?;
        for s in starts.windows(2) {
            let alone = run(s[0], s[1], vec![0, (s[1] - s[0]) as u32])?;
            assert_eq!(alone, together[s[0] * 48..s[1] * 48], "{precision:?} {s:?}");
        }
    }
    Ok(())
}
