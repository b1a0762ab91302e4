//! The affine map at odd sizes, in each of its forms.

use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::StorageDtype;
use warmstart::error::Result;
use warmstart::matmul::Precision;
use warmstart::ops::activation::Activation;
use warmstart::ops::affine::Affine;
use warmstart::ops::dropout::Dropout;
use warmstart::ops::linear::{self, Added, Epilogue, Frozen, LowRankTerm, frozen_linear};
use warmstart::rng::{Key, Stream};

use crate::tests::checks::{Outcome, TOLERANCE, activate, assert_close, check, factors};
use crate::tests::ops::{collected, f64s, linear, parameters, random, scaled, sum};

#[test]
fn linear_when_shapes_are_odd_agrees_forward_and_backward() -> Outcome {
    let kinds = [
        None,
        Some(Activation::Gelu),
        Some(Activation::GeluTanh),
        Some(Activation::Silu),
        Some(Activation::Relu),
        Some(Activation::Tanh),
    ];
    for (i, (t, k, n)) in [(1, 1, 1), (7, 5, 3), (1, 33, 17), (130, 7, 65), (3, 1023, 9)].into_iter().enumerate() {
        // Sums of about 1, as a trained layer has them: far from where the hyperbolic tangent is flat.
        let weight = scaled(&random(2, &[n, k])?, 1.0 / (k as f64).sqrt())?;
        let args = [random(1, &[t, k])?, weight, random(3, &[n])?];
        let kind = kinds[i];
        let with_bias = move |v: &[Vec<f64>]| {
            let at = |row: usize, col: usize| (0..k).map(|j| v[0][row * k + j] * v[1][col * k + j]).sum::<f64>();
            (0..t * n).map(|i| activate(kind, at(i / n, i % n) + v.get(2).map_or(0.0, |b| b[i % n]))).collect()
        };
        check("linear", &args, |a| linear(&a[0], &a[1], Some(&a[2]), kind, Precision::F32), with_bias)?;
        check("linear without bias", &args[..2], |a| linear(&a[0], &a[1], None, kind, Precision::F32), with_bias)?;
    }
    Ok(())
}

#[test]
fn linear_when_there_are_no_rows_gives_none() -> Outcome {
    let (params, gradients) = parameters(&[Array::new(vec![], (0, 4))?, random(1, &[3, 4])?])?;
    let y = linear(&params[0], &params[1], None, Some(Activation::Gelu), Precision::F32)?;
    assert_eq!(y.array().dims(), [0, 3]);
    sum(&y)?.backward()?;
    assert_eq!(collected(&gradients), [Some(vec![]), Some(vec![0.0; 12])]);
    Ok(())
}

#[test]
fn linear_when_a_side_is_frozen_computes_no_gradient_for_it() -> Outcome {
    let tensors = [random(1, &[4, 3])?, random(2, &[5, 3])?, random(3, &[5])?];
    for frozen in 0..3 {
        let (mut params, gradients) = parameters(&tensors)?;
        params[frozen] = Var::constant(tensors[frozen].clone());
        sum(&linear(&params[0], &params[1], Some(&params[2]), None, Precision::F32)?)?.backward()?;
        let arrived: Vec<bool> = collected(&gradients).iter().map(Option::is_some).collect();
        assert_eq!(arrived, (0..3).map(|i| i != frozen).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn linear_when_it_is_a_part_stored_either_way_agrees_forward_and_backward() -> Outcome {
    let (t, k, n) = (7, 5, 9);
    for (input_major, outputs) in
        [(false, 0..9), (true, 0..9), (false, 3..6), (true, 3..6), (true, 8..9), (false, 0..1)]
    {
        let shape = if input_major { [k, n] } else { [n, k] };
        let args = [random(1, &[t, k])?, random(2, &shape)?, random(3, &[n])?];
        let map = |a: &[Var], bias: bool| {
            let bias = bias.then(|| &a[2]);
            let map = if input_major { Affine::input_major(&a[1], bias)? } else { Affine::new(&a[1], bias)? };
            map.outputs(outputs.clone())
        };
        let formula = |v: &[Vec<f64>], bias: bool| -> Vec<f64> {
            let w = |o: usize, i: usize| if input_major { v[1][i * n + o] } else { v[1][o * k + i] };
            let y =
                |x: &[f64], o: usize| (0..k).map(|i| x[i] * w(o, i)).sum::<f64>() + if bias { v[2][o] } else { 0.0 };
            v[0].chunks(k).flat_map(|x| outputs.clone().map(move |o| y(x, o))).collect()
        };
        let run = |a: &[Var], bias| linear::linear(&a[0], &map(a, bias)?, &Added::NONE, Epilogue::None, Precision::F32);
        check("part", &args[..2], |a| run(a, false), |v| formula(v, false))?;
        check("part with bias", &args, |a| run(a, true), |v| formula(v, true))?;
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let constants = args.clone().map(Var::constant);
            let frozen = Frozen::new(&map(&constants, true)?, precision);
            let expected = formula(&args.iter().map(f64s).collect::<Result<Vec<_>>>()?, true);
            let tolerance = if precision == Precision::F32 { TOLERANCE } else { 0.03 };
            // The first time from where the weight lies, then packed.
            for _ in 0..2 {
                let got = frozen_linear(&constants[0], &frozen, &Added::NONE, Epilogue::None, StorageDtype::F32)?;
                assert_close("frozen part", &f64s(got.array())?, &expected, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn linear_when_it_is_added_to_a_residual_agrees_forward_and_backward() -> Outcome {
    for (t, k, n) in [(1, 1, 1), (33, 5, 70)] {
        for p in [0.0, 0.4] {
            let drop = (p > 0.0).then(|| Dropout::new(p, Key::new(5, Stream::Dropout)));
            let factor = factors(drop.unwrap_or(Dropout::new(0.0, Key::new(5, Stream::Dropout))), &[t, n])?;
            let args = [random(1, &[t, k])?, random(2, &[n, k])?, random(3, &[n])?, random(4, &[t, n])?];
            let run = |a: &[Var]| {
                linear::linear(
                    &a[0],
                    &Affine::new(&a[1], Some(&a[2]))?,
                    &Added::NONE,
                    Epilogue::AddResidual(&a[3], drop),
                    Precision::F32,
                )
            };
            check("residual linear", &args, run, |v| {
                let y = |r: usize, o: usize| (0..k).map(|i| v[0][r * k + i] * v[1][o * k + i]).sum::<f64>() + v[2][o];
                (0..t * n).map(|at| y(at / n, at % n) * factor[at] + v[3][at]).collect()
            })?;
        }
    }
    Ok(())
}

/// `W x + s B A x` with everything after it: gradients of `A`, `B` and of what is around them, whether the weight learns or is
/// packed once, and of a part of the outputs.
#[test]
fn linear_when_it_has_low_rank_terms_agrees_forward_and_backward() -> Outcome {
    for (t, k, n, ranks) in [(1, 1, 1, [1, 1]), (7, 5, 9, [3, 2]), (33, 70, 130, [8, 1])] {
        for (outputs, kind) in [(0..n, 0), (n / 3..n, 0), (0..n, 1), (n / 3..n, 2)] {
            let m = outputs.len();
            // Sums of about 1, as a trained layer has them.
            let drawn = |seed, shape: [usize; 2]| scaled(&random(seed, &shape)?, 1.0 / (shape[1] as f64).sqrt());
            let mut args = vec![random(1, &[t, k])?, drawn(2, [n, k])?, random(3, &[n])?];
            for (i, r) in ranks.into_iter().enumerate() {
                args.extend([drawn(5 + i as u64, [r, k])?, drawn(7 + i as u64, [n, r])?]);
            }
            if kind == 2 {
                args.push(random(4, &[t, m])?);
            }
            let run = |a: &[Var], packed: bool| {
                let term = |a: &[Var], scale| {
                    let b = Affine::new(&a[1], None)?.outputs(outputs.clone())?;
                    Ok(LowRankTerm { a: Affine::new(&a[0], None)?, b, scale })
                };
                let terms = [term(&a[3..5], 1.7), term(&a[5..7], -0.3)];
                let added = Added { terms: terms.into_iter().collect::<Result<Vec<_>>>()?, magnitude: None };
                let epilogue = match kind {
                    0 => Epilogue::None,
                    1 => Epilogue::Activation(Activation::Tanh),
                    _ => Epilogue::AddResidual(&a[7], None),
                };
                let map = Affine::new(&a[1], Some(&a[2]))?.outputs(outputs.clone())?;
                if packed {
                    let frozen = Frozen::new(&map, Precision::F32);
                    return frozen_linear(&a[0], &frozen, &added, epilogue, StorageDtype::F32);
                }
                linear::linear(&a[0], &map, &added, epilogue, Precision::F32)
            };
            let formula = |v: &[Vec<f64>]| -> Vec<f64> {
                let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
                let low = |x: &[f64], at: usize, r: usize, o: usize| {
                    (0..r).map(|i| v[at + 1][o * r + i] * dot(x, &v[at][i * k..][..k])).sum::<f64>()
                };
                let y = |x: &[f64], o: usize| {
                    let terms =
                        f64::from(1.7f32) * low(x, 3, ranks[0], o) + f64::from(-0.3f32) * low(x, 5, ranks[1], o);
                    dot(x, &v[1][o * k..][..k]) + v[2][o] + terms
                };
                let all = v[0].chunks(k).flat_map(|x| outputs.clone().map(move |o| y(x, o)));
                let then = |(i, y): (usize, f64)| match kind {
                    0 => y,
                    1 => y.tanh(),
                    _ => y + v[7][i],
                };
                all.enumerate().map(then).collect()
            };
            check("low-rank terms", &args, |a| run(a, false), formula)?;
            let weight = Var::constant(args[1].clone());
            let fixed = |a: &[Var]| [&a[..1], std::slice::from_ref(&weight), &a[1..]].concat();
            let others = [&args[..1], &args[2..]].concat();
            let whole = |v: &[Vec<f64>]| [&v[..1], &[f64s(&args[1]).unwrap_or_default()], &v[1..]].concat();
            check("low-rank terms, packed", &others, |a| run(&fixed(a), true), |v| formula(&whole(v)))?;
        }
    }
    Ok(())
}
