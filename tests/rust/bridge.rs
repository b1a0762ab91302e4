//! Functions of candle tensors in our autograd: gradients against differences, what must be refused, padding.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor};
use candle_nn::{Conv1dConfig, LayerNorm, Linear, Module};
use warmstart::array::Array;
use warmstart::autograd::{Var, checkpoint};
use warmstart::bridge::{CandleFunction, Per, Tensors, apply_padded, conv1d};
use warmstart::error::Result;
use warmstart::ops::dropout::Dropout;
use warmstart::rng::{Key, Stream};

use crate::tests::checks::{Outcome, assert_close, check, factors};
use crate::tests::ops::{collected, f64s, parameters, random, sum, weighted_sum};

/// `tanh(x W^T + b)`.
fn layer() -> CandleFunction {
    CandleFunction::new("layer", |tensors: &Tensors| {
        let (n_out, n_in) = tensors.get("map.weight")?.dims2()?;
        candle_nn::linear(n_in, n_out, tensors.var_builder().pp("map"))?.forward(tensors.get("x")?)?.tanh()
    })
}

fn layer_formula(v: &[Vec<f64>], d: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let output = |(w, b): (&[f64], &f64)| (b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).tanh();
        v[1].chunks(d).zip(&v[2]).map(output).collect()
    };
    v[0].chunks(d).flat_map(row).collect()
}

#[test]
fn function_when_applied_gives_gradients_to_inputs_and_parameters() -> Outcome {
    for [t, d, n] in [[1, 1, 1], [7, 5, 3], [33, 17, 9]] {
        let (function, arguments) = (layer(), [random(1, &[t, d])?, random(2, &[n, d])?, random(3, &[n])?]);
        let apply = |a: &[Var]| function.apply(&[("x", &a[0]), ("map.weight", &a[1]), ("map.bias", &a[2])], &[]);
        check("layer", &arguments, apply, |v| layer_formula(v, d))?;
    }
    Ok(())
}

#[test]
fn function_when_there_are_no_rows_gives_zero_gradients() -> Outcome {
    let (values, gradients) = parameters(&[random(1, &[0, 3])?, random(2, &[5, 3])?, random(3, &[5])?])?;
    let y = layer().apply(&[("x", &values[0]), ("map.weight", &values[1]), ("map.bias", &values[2])], &[])?;
    assert_eq!(y.array().dims(), [0, 5]);
    weighted_sum(&[(&y, &[])])?.backward()?;
    let expected = [vec![], vec![0.0; 15], vec![0.0; 5]].map(Some);
    assert_eq!(collected(&gradients), expected);
    Ok(())
}

#[test]
fn function_when_computed_again_gives_the_same_gradients() -> Outcome {
    let arguments = [random(1, &[4, 3])?, random(2, &[5, 3])?, random(3, &[5])?];
    let function = Arc::new(layer());
    let run = |again: bool| -> Result<Vec<Option<Vec<f32>>>> {
        let (values, gradients) = parameters(&arguments)?;
        let (function, weight, bias) = (function.clone(), values[1].clone(), values[2].clone());
        let apply = move |x: &[Var]| function.apply(&[("x", &x[0]), ("map.weight", &weight), ("map.bias", &bias)], &[]);
        let y = if again { checkpoint(&[&values[0]], apply)? } else { apply(&values[..1])? };
        sum(&y)?.backward()?;
        Ok(collected(&gradients))
    };
    assert_eq!(run(true)?, run(false)?);
    assert!(run(true)?.iter().all(Option::is_some));
    Ok(())
}

/// What a function says of parameters `x [3, 4]` and `w [4]` the first time.
fn refused(function: impl Fn(&Tensors) -> candle_core::Result<Tensor> + Send + Sync + 'static) -> Option<String> {
    let (values, _) = parameters(&[random(1, &[3, 4]).unwrap(), random(2, &[4]).unwrap()]).unwrap();
    let function = CandleFunction::new("head", function);
    function.apply(&[("x", &values[0]), ("w", &values[1])], &[]).err().map(|error| error.to_string())
}

#[test]
fn gradient_when_it_stops_is_refused_by_name() -> Outcome {
    let softmax = |t: &Tensors| candle_nn::ops::softmax_last_dim(t.get("x")?)?.broadcast_mul(t.get("w")?);
    let message = refused(softmax).ok_or("softmax_last_dim was accepted")?;
    assert!(message.contains("head: no gradient reaches \"x\""), "{message}");
    let norm = |t: &Tensors| LayerNorm::new(t.get("w")?.clone(), t.get("w")?.clone(), 1e-5).forward(t.get("x")?);
    let message = refused(norm).ok_or("LayerNorm was accepted")?;
    assert!(message.contains("no gradient reaches \"x\""), "{message}");
    // Without a bias it is composed of operations with a backward.
    assert_eq!(refused(|t| LayerNorm::new_no_bias(t.get("w")?.clone(), 1e-5).forward(t.get("x")?)), None);
    let norm = |t: &Tensors| t.get("x")? + candle_nn::ops::rms_norm(t.get("x")?, t.get("w")?, 1e-5);
    let message = refused(norm).ok_or("RmsNorm was accepted")?;
    assert!(message.contains("no gradient reaches \"w\""), "{message}");
    let rope = |t: &Tensors| {
        let x = t.get("x")?.reshape((1, 1, 3, 4))?;
        let angle = Tensor::ones((3, 2), t.dtype(), &Device::Cpu)?;
        candle_nn::rotary_emb::rope(&x, &angle, &angle)?.reshape((3, 4))?.broadcast_mul(t.get("w")?)
    };
    let message = refused(rope).ok_or("rope was accepted")?;
    assert!(message.contains("no gradient reaches \"x\""), "{message}");
    let unused = |t: &Tensors| t.get("x")?.tanh();
    let message = refused(unused).ok_or("an unused parameter was accepted")?;
    assert!(message.contains("no gradient reaches \"w\": it is not used"), "{message}");
    let constant = |t: &Tensors| Tensor::ones(3, t.dtype(), &Device::Cpu);
    assert!(refused(constant).is_some());
    Ok(())
}

#[test]
fn gradient_when_only_one_way_of_two_stops_is_refused_by_name() -> Outcome {
    let half = |t: &Tensors| {
        let x = t.get("x")?.broadcast_mul(t.get("w")?)?;
        t.get("x")? + candle_nn::ops::softmax_last_dim(&x)? + t.get("w")?.broadcast_as((3, 4))?
    };
    let message = refused(half).ok_or("half a gradient was accepted")?;
    assert!(message.contains("the gradients of [\"x\", \"w\"] are not those"), "{message}");
    let detached = |t: &Tensors| (t.get("x")?.sqr()? * t.get("x")?.detach())?.broadcast_mul(t.get("w")?);
    let message = refused(detached).ok_or("a detached factor was accepted")?;
    assert!(message.contains("the gradients of [\"x\"] are not those"), "{message}");
    // The maximum is taken out of a softmax without consequence.
    let softmax = |t: &Tensors| {
        let x = t.get("x")?.broadcast_mul(t.get("w")?)?;
        let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
        e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
    };
    assert_eq!(refused(softmax), None);
    Ok(())
}

#[test]
fn function_when_its_values_have_corners_is_accepted() -> Outcome {
    // Zeros where relu, abs and maximum have their corners, as parameters begin.
    let (values, gradients) = parameters(&[random(1, &[40, 30])?, Array::new(vec![0.0; 30], 30)?])?;
    let function = CandleFunction::new("corners", |t: &Tensors| {
        let y = t.get("x")?.broadcast_mul(t.get("w")?)?.relu()?;
        let y = (y + t.get("x")?.broadcast_add(t.get("w")?)?.abs()?)?.gelu_erf()?;
        y.max(1)? + y.mean(1)?
    });
    sum(&function.apply(&[("x", &values[0]), ("w", &values[1])], &[])?)?.backward()?;
    assert!(collected(&gradients).iter().all(Option::is_some));
    Ok(())
}

#[test]
fn function_when_it_draws_numbers_is_refused() -> Outcome {
    let dropout = |t: &Tensors| candle_nn::Dropout::new(0.5).forward(&t.get("x")?.broadcast_mul(t.get("w")?)?, true);
    let message = refused(dropout).ok_or("unseeded dropout was accepted")?;
    assert!(message.contains("head: two runs on the same inputs differ"), "{message}");
    let x = Var::constant(random(1, &[3, 4])?);
    let noise = CandleFunction::new("noise", |t: &Tensors| t.get("x")?.rand_like(0.0, 1.0));
    assert!(noise.apply(&[("x", &x)], &[]).is_err(), "also where nothing learns");
    // Our masks are inputs as others are.
    let mask = factors(Dropout::new(0.3, Key::new(1, Stream::Dropout)), &[3, 4])?;
    let masked = CandleFunction::new("masked", |t: &Tensors| t.get("x")?.sqr()? * t.get("mask")?);
    let tensor = Tensor::from_vec(mask.iter().map(|m| *m as f32).collect(), (3, 4), &Device::Cpu)?;
    check(
        "masked",
        &[random(1, &[3, 4])?],
        |a| masked.apply(&[("x", &a[0])], &[("mask", tensor.clone())]),
        |v| v[0].iter().zip(&mask).map(|(x, m)| x * x * m).collect(),
    )
}

#[test]
fn function_when_it_fails_says_which_it_is() -> Outcome {
    let message = refused(|t| t.get("y").cloned()).ok_or("an unknown input was accepted")?;
    assert!(message.contains("head: got no input \"y\", but [\"w\", \"x\"]"), "{message}");
    let half = |t: &Tensors| t.get("x")?.broadcast_mul(t.get("w")?)?.to_dtype(candle_core::DType::F16);
    let message = refused(half).ok_or("an output of f16 was accepted")?;
    assert!(message.contains("F16, expected F32"), "{message}");
    let fixed = |t: &Tensors| {
        t.get("x")?.broadcast_mul(t.get("w")?)? * Tensor::new(2f32, &Device::Cpu)?.broadcast_as((3, 4))?
    };
    let message = refused(fixed).ok_or("a constant of f32 was accepted")?;
    assert!(message.contains("head: dtype mismatch"), "{message}");
    let x = Var::constant(random(1, &[3, 4])?);
    assert!(layer().apply(&[("x", &x), ("x", &x)], &[]).is_err(), "two inputs of one name");
    Ok(())
}

/// `2 x`, which holds a token.
struct Double(#[allow(dead_code)] Arc<()>);

impl CustomOp1 for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let doubled = match storage {
            CpuStorage::F32(values) => CpuStorage::F32(values.iter().map(|x| 2.0 * x).collect()),
            CpuStorage::F64(values) => CpuStorage::F64(values.iter().map(|x| 2.0 * x).collect()),
            _ => candle_core::bail!("other type"),
        };
        Ok((doubled, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some((gradient * 2.0)?))
    }
}

#[test]
fn graph_when_backward_is_done_or_nothing_learns_is_freed() -> Outcome {
    let token = Arc::new(());
    let held = token.clone();
    let function = CandleFunction::new("double", move |t: &Tensors| t.get("x")?.apply_op1(Double(held.clone())));
    let (values, gradients) = parameters(&[random(1, &[3, 4])?])?;
    let kept = function.apply(&[("x", &Var::constant(random(1, &[3, 4])?))], &[])?;
    assert_eq!(Arc::strong_count(&token), 2, "the function's own alone");
    drop(kept);
    let loss = sum(&function.apply(&[("x", &values[0])], &[])?)?;
    assert_eq!(Arc::strong_count(&token), 3);
    loss.backward()?;
    assert_eq!(Arc::strong_count(&token), 2);
    assert_eq!(collected(&gradients), [Some(vec![2.0; 12])]);
    Ok(())
}

/// `tanh(conv(x) + b) * mask`, a convolution of width 3 over the tokens of each sequence.
fn convolution() -> CandleFunction {
    CandleFunction::new("conv", |t: &Tensors| {
        let y = conv1d(t.get("x")?, t.get("conv.weight")?, Some(t.get("conv.bias")?), 1)?.tanh()?;
        y.broadcast_mul(&t.get("mask")?.unsqueeze(2)?)
    })
}

/// The same of one sequence, `x [T, D]` to `[T, N]`.
fn convolved(x: &[f64], weight: &[f64], bias: &[f64], d: usize) -> Vec<f64> {
    let t = x.len() / d;
    let output = |i: usize| {
        let (token, n) = (i / bias.len(), i % bias.len());
        let mut sum = bias[n];
        for k in 0..3 {
            for j in (0..d).filter(|_| (1..=t).contains(&(token + k))) {
                sum += weight[(n * d + j) * 3 + k] * x[(token + k - 1) * d + j];
            }
        }
        sum.tanh()
    };
    (0..t * bias.len()).map(output).collect()
}

#[test]
fn convolution_when_sequences_are_padded_agrees_forward_and_backward() -> Outcome {
    for starts in [&[0, 1][..], &[0, 3, 4, 21, 21, 26, 60], &[0, 0]] {
        let (function, [d, n]) = (convolution(), [3, 5]);
        let t = starts[starts.len() - 1] as usize;
        let arguments = [random(1, &[t, d])?, random(2, &[n, d, 3])?, random(3, &[n])?];
        check(
            "convolution",
            &arguments,
            |a| {
                let parameters = [("conv.weight", &a[1]), ("conv.bias", &a[2])];
                apply_padded(&function, &[("x", &a[0])], starts, &parameters, Per::Token)
            },
            |v| {
                let rows = |w: &[u32]| &v[0][w[0] as usize * d..w[1] as usize * d];
                starts.windows(2).flat_map(|w| convolved(rows(w), &v[1], &v[2], d)).collect()
            },
        )?;
    }
    Ok(())
}

/// Once candle's is right, our own is not needed.
#[test]
fn convolution_of_candle_when_there_are_two_sequences_is_refused() -> Outcome {
    let function = CandleFunction::new("conv", |t: &Tensors| {
        let config = Conv1dConfig { padding: 1, ..Conv1dConfig::default() };
        candle_nn::conv1d(3, 5, 3, config, t.var_builder())?.forward(t.get("x")?)
    });
    let weights = [random(2, &[5, 3, 3])?, random(3, &[5])?];
    let apply = |b: usize| {
        let (values, _) = parameters(&[random(1, &[b, 3, 4])?, weights[0].clone(), weights[1].clone()])?;
        function.apply(&[("x", &values[0]), ("weight", &values[1]), ("bias", &values[2])], &[])
    };
    // One alone is right; the second call is looked at, too.
    apply(1)?;
    let message = apply(2).err().ok_or("a wrong gradient was accepted")?.to_string();
    assert!(message.contains("the gradients of [\"weight\"] are not those"), "{message}");
    Ok(())
}

#[test]
fn convolution_when_dilated_agrees_with_candles_and_even_kernels_are_refused() -> Outcome {
    let [x, weight] = [random(1, &[2, 7, 3])?, random(2, &[4, 3, 5])?].map(Tensor::try_from);
    let (x, weight) = (x?, weight?);
    let got = conv1d(&x, &weight, None, 2)?;
    let expected = x.transpose(1, 2)?.contiguous()?.conv1d(&weight, 4, 1, 2, 1)?.transpose(1, 2)?;
    assert_close("dilated", &f64s(&Array::try_from(&got)?)?, &f64s(&Array::try_from(&expected)?)?, 1e-6);
    assert!(conv1d(&x, &weight.narrow(2, 0, 4)?, None, 1).is_err());
    Ok(())
}

#[test]
fn vectors_of_sequences_when_padded_agree_forward_and_backward() -> Outcome {
    // Attention of a query over the tokens of each sequence, and what it sums; of no tokens, zeros.
    let function = CandleFunction::new("attention pooling", |t: &Tensors| {
        let (x, mask) = (t.get("x")?, t.get("mask")?);
        let scores = x.broadcast_mul(t.get("query")?)?.sum(2)?;
        let weights = (scores.broadcast_sub(&scores.max_keepdim(1)?)?.exp()? * mask)?;
        let weights = weights.broadcast_div(&(weights.sum_keepdim(1)? + 1e-12)?)?;
        weights.unsqueeze(1)?.matmul(x)?.squeeze(1)
    });
    let (starts, d) = ([0u32, 2, 2, 19, 20, 25], 3);
    let pooled = |x: &[f64], query: &[f64]| -> Vec<f64> {
        let score = |row: &[f64]| row.iter().zip(query).map(|(x, q)| x * q).sum::<f64>().exp();
        let total = x.chunks(d).map(score).sum::<f64>() + 1e-12;
        (0..d).map(|j| x.chunks(d).map(|row| score(row) * row[j]).sum::<f64>() / total).collect()
    };
    check(
        "attention pooling",
        &[random(1, &[25, d])?, random(2, &[d])?],
        |a| apply_padded(&function, &[("x", &a[0])], &starts, &[("query", &a[1])], Per::Sequence),
        |v| starts.windows(2).flat_map(|w| pooled(&v[0][w[0] as usize * d..w[1] as usize * d], &v[1])).collect(),
    )
}

#[test]
fn sequence_when_padded_with_others_gives_what_it_gives_alone() -> Outcome {
    let (function, d) = (convolution(), 6);
    let starts: Vec<u32> = [5, 1, 30, 4, 9, 31, 33, 2]
        .iter()
        .scan(0, |end, n| Some(std::mem::replace(end, *end + n)))
        .chain([115])
        .collect();
    let (x, weight, bias) = (random(1, &[115, d])?, random(2, &[7, d, 3])?, random(3, &[7])?);
    let [weight, bias] = [weight, bias].map(Var::constant);
    let apply = |x: Array, starts: &[u32]| {
        let parameters = [("conv.weight", &weight), ("conv.bias", &bias)];
        apply_padded(&function, &[("x", &Var::constant(x))], starts, &parameters, Per::Token)
    };
    let together = apply(x.clone(), &starts)?;
    for w in starts.windows(2) {
        let (first, n) = (w[0] as usize, (w[1] - w[0]) as usize);
        let alone = apply(x.rows(first, n)?, &[0, n as u32])?;
        assert_close("alone", &f64s(&together.array().rows(first, n)?)?, &f64s(alone.array())?, 1e-6);
    }
    Ok(())
}

#[test]
fn padded_function_when_the_batch_is_empty_gives_no_rows_and_zero_gradients() -> Outcome {
    let (values, gradients) = parameters(&[random(1, &[0, 3])?, random(2, &[5, 3, 3])?, random(3, &[5])?])?;
    let weights = [("conv.weight", &values[1]), ("conv.bias", &values[2])];
    let y = apply_padded(&convolution(), &[("x", &values[0])], &[0], &weights, Per::Token)?;
    assert_eq!(y.array().dims(), [0, 5]);
    weighted_sum(&[(&y, &[])])?.backward()?;
    for gradient in collected(&gradients) {
        assert!(gradient.ok_or("no gradient")?.iter().all(|g| *g == 0.0));
    }
    Ok(())
}

#[test]
fn padded_function_when_its_output_does_not_fit_is_refused() -> Outcome {
    let x = Var::constant(random(1, &[9, 4])?);
    let same = CandleFunction::new("same", |t: &Tensors| t.get("x")?.tanh());
    let apply = |per| apply_padded(&same, &[("x", &x)], &[0, 5, 9], &[], per);
    assert_eq!(apply(Per::Token)?.array().dims(), [9, 4]);
    let message = apply(Per::Sequence).err().ok_or("tokens for sequences were accepted")?.to_string();
    assert!(message.contains("same: got output [2, 5, 4], expected [2, _]"), "{message}");
    for starts in [&[0, 5, 10][..], &[0, 5], &[1, 9], &[0, 9, 5, 9], &[]] {
        assert!(apply_padded(&same, &[("x", &x)], starts, &[], Per::Token).is_err(), "{starts:?} of 9 rows");
    }
    Ok(())
}

#[test]
fn embedding_when_ids_are_constants_adds_the_gradients_of_repeated_ones() -> Outcome {
    let ids = Tensor::new(&[3u32, 0, 3, 6], &Device::Cpu)?;
    let function = CandleFunction::new("embedding", |t: &Tensors| {
        candle_nn::embedding(7, 5, t.var_builder())?.forward(t.get("ids")?)?.sqr()
    });
    check(
        "embedding",
        &[random(1, &[7, 5])?],
        |a| function.apply(&[("weight", &a[0])], &[("ids", ids.clone())]),
        |v| [3, 0, 3, 6].iter().flat_map(|id| v[0][id * 5..][..5].iter().map(|x| x * x)).collect(),
    )
}

#[test]
fn layer_when_composed_of_operations_with_a_backward_passes() -> Outcome {
    let (values, gradients) = parameters(&[random(1, &[3, 4])?, random(2, &[4, 4])?])?;
    let function = CandleFunction::new("composed", |t: &Tensors| {
        let x = t.get("x")?;
        let scores = Linear::new(t.get("w")?.clone(), None).forward(x)?.matmul(&x.t()?)?;
        candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(x)
    });
    sum(&function.apply(&[("x", &values[0]), ("w", &values[1])], &[])?)?.backward()?;
    assert!(collected(&gradients).iter().all(Option::is_some));
    Ok(())
}
