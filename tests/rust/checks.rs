//! How an operation is held against a formula: values directly, gradients against central differences.

use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::error::Result;
use warmstart::ops::activation::Activation;
use warmstart::ops::dropout::{Dropout, dropout};

use crate::tests::ops::{Scale, collected, f64s, parameters, random, weighted_sum};

pub type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// f32 rounding of sums of up to about a thousand terms, relative to the largest value.
pub const TOLERANCE: f64 = 3e-6;

pub fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * scale, "{what}[{i}]: got {g}, expected {e} (values up to {scale})");
    }
}

/// Values of arguments that Miri, an interpreter, takes through an operation and its formula in seconds.
const MOST_IN_MIRI: usize = 500;

/// Check `op` against `formula`: values, and for the loss `sum(weights * y)` the gradient of each argument against central
/// differences of the formula in f64. At most `PROBES` elements of each argument are shifted. Arguments are parameters and
/// then results of another operation, each of them used once and then twice, so that the second use adds to the first.
pub fn check(
    what: &str,
    args: &[Array],
    op: impl Fn(&[Var]) -> Result<Var>,
    formula: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Outcome {
    const PROBES: usize = if cfg!(miri) { 2 } else { 40 };
    if cfg!(miri) && args.iter().map(Array::elem_count).sum::<usize>() > MOST_IN_MIRI {
        return Ok(());
    }
    let constants: Vec<Var> = args.iter().cloned().map(Var::constant).collect();
    let y = op(&constants)?.array().clone();
    let values: Vec<Vec<f64>> = args.iter().map(f64s).collect::<Result<_>>()?;
    assert_close(what, &f64s(&y)?, &formula(&values), TOLERANCE);
    if y.elem_count() == 0 {
        return Ok(());
    }
    let weights: Vec<f32> = random(99, y.dims())?.values()?.to_vec();
    let half: Vec<f32> = weights.iter().map(|w| w / 2.0).collect();
    let loss = |values: &[Vec<f64>]| formula(values).iter().zip(&weights).map(|(y, &w)| y * f64::from(w)).sum::<f64>();
    let picks = |n: usize| (0..n).step_by(n.div_ceil(PROBES).max(1));
    let slope = |a: usize, i: usize| {
        let shifted = |h: f64| {
            let mut values = values.clone();
            values[a][i] += h;
            loss(&values)
        };
        (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    };
    let measured: Vec<Vec<f64>> =
        (0..args.len()).map(|a| picks(values[a].len()).map(|i| slope(a, i)).collect()).collect();
    for (computed, twice) in [(false, false), (false, true), (true, false), (true, true)] {
        let (params, gradients) = parameters(args)?;
        let input = |p: &Var| if computed { Scale::new(1.0).apply(p) } else { Ok(p.clone()) };
        let inputs: Vec<Var> = params.iter().map(input).collect::<Result<_>>()?;
        let first = op(&inputs)?;
        assert_eq!(f64s(first.array())?, f64s(&y)?, "{what}: with a gradient and without");
        if twice {
            weighted_sum(&[(&first, &weights), (&op(&inputs)?, &half)])?.backward()?;
        } else {
            weighted_sum(&[(&first, &weights)])?.backward()?;
        }
        for (a, got) in collected(&gradients).into_iter().enumerate() {
            let got = got.ok_or(format!("{what}: argument {a} has no gradient"))?;
            let picked: Vec<f64> = picks(got.len()).map(|i| f64::from(got[i])).collect();
            let expected: Vec<f64> = measured[a].iter().map(|g| if twice { 1.5 * g } else { *g }).collect();
            // Rounding of the f64 loss makes central differences with this step uncertain by about 1e-8.
            let what = format!("{what}: gradient of argument {a}, computed {computed}, twice {twice}");
            assert_close(&what, &picked, &expected, 2e-5);
        }
    }
    Ok(())
}

pub fn activate(kind: Option<Activation>, x: f64) -> f64 {
    match kind {
        None => x,
        Some(Activation::Gelu) => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Some(Activation::GeluTanh) => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Some(Activation::Silu) => x / (1.0 + (-x).exp()),
        Some(Activation::Relu) => x.max(0.0),
        Some(Activation::Tanh) => x.tanh(),
    }
}

/// What dropout multiplies each value of this shape by.
pub fn factors(drop: Dropout, shape: &[usize]) -> Result<Vec<f64>> {
    f64s(dropout(&Var::constant(Array::new(vec![1.0; shape.iter().product()], shape)?), drop)?.array())
}
