//! The loss over a vocabulary in blocks, against plain f64 formulas and against whole logits.

use std::sync::Arc;

use candle_core::DType;
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::{in_pool, set_num_threads};
use warmstart::error::Result;
use warmstart::matmul::Precision;
use warmstart::ops::affine::Affine;
use warmstart::ops::embedding::embedding;
use warmstart::ops::vocabulary_loss::{token_losses, vocabulary_loss};

use crate::tests::checks::{assert_close, check};
use crate::tests::ops::{Scale, as_type, collected, f64s, parameters, random, scaled, weighted_sum};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// A label for each row, none for about a third of them, the first and the last among the words.
fn labels(n: usize, v: usize) -> Vec<Option<u32>> {
    let word = |i: usize| if i == 0 { v - 1 } else { (i * 7919 + 13) % v * usize::from(i != 4) };
    (0..n).map(|i| (i % 3 != 1).then(|| word(i) as u32)).collect()
}

/// The loss of each row and its gradients `[dh, dW, db]`, in f64, of `args = [h, W, b]`.
fn reference(
    args: &[Vec<f64>],
    [n, d, v]: [usize; 3],
    labels: &[Option<u32>],
    normalizer: f64,
) -> (Vec<f64>, [Vec<f64>; 3]) {
    let (mut losses, mut gradients) = (vec![0.0; n], [vec![0.0; n * d], vec![0.0; v * d], vec![0.0; v]]);
    for (i, label) in labels.iter().enumerate() {
        let Some(y) = label.map(|y| y as usize) else { continue };
        let h = &args[0][i * d..][..d];
        let logit = |o: usize| {
            h.iter().zip(&args[1][o * d..]).map(|(h, w)| h * w).sum::<f64>() + args.get(2).map_or(0.0, |b| b[o])
        };
        let z: Vec<f64> = (0..v).map(logit).collect();
        let max = z.iter().copied().fold(f64::MIN, f64::max);
        let log_sum = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
        losses[i] = log_sum - z[y];
        for (o, z) in z.iter().enumerate() {
            let g = ((z - log_sum).exp() - f64::from(u8::from(o == y))) / normalizer;
            gradients[2][o] += g;
            for j in 0..d {
                gradients[0][i * d + j] += g * args[1][o * d + j];
                gradients[1][o * d + j] += g * h[j];
            }
        }
    }
    (losses, gradients)
}

fn tensors([n, d, v]: [usize; 3]) -> Result<[Array; 3]> {
    Ok([random(1, &[n, d])?, scaled(&random(2, &[v, d])?, 1.0 / (d as f64).sqrt())?, random(3, &[v])?])
}

fn loss(args: &[Var], labels: &[Option<u32>], normalizer: f64, precision: Precision) -> Result<Var> {
    vocabulary_loss(&args[0], &Affine::new(&args[1], args.get(2))?, labels.to_vec(), normalizer, precision)
}

#[test]
fn loss_when_sizes_are_odd_agrees_with_finite_differences() -> Outcome {
    for size @ [n, d, v] in [[1, 1, 1], [1, 5, 37], [7, 33, 37], [70, 3, 103]] {
        let (args, labels) = (tensors(size)?, labels(n, v));
        for args in [&args[..], &args[..2]] {
            check(
                "vocabulary loss",
                args,
                |a| loss(a, &labels, 2.5, Precision::F32),
                |a| vec![reference(a, [n, d, v], &labels, 2.5).0.iter().sum::<f64>() / 2.5],
            )?;
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn loss_when_there_are_several_blocks_of_words_and_rows_agrees_with_f64() -> Outcome {
    for size @ [n, _, v] in [[1, 5, 2049], [7, 65, 1003], [70, 33, 4101], [2 * 1024 + 9, 3, 2051]] {
        let (args, labels) = (tensors(size)?, labels(n, v));
        let f64s: Vec<Vec<f64>> = args.iter().map(f64s).collect::<Result<_>>()?;
        let normalizer = n as f64;
        let (losses, expected) = reference(&f64s, size, &labels, normalizer);
        // Operands of 8 bits, errors of which the sums make a part of each gradient's largest value.
        for (precision, tolerance) in [(Precision::F32, 3e-6), (Precision::Bf16, 0.01)] {
            let (params, gradients) = parameters(&args)?;
            let map = Affine::new(&params[1], Some(&params[2]))?;
            let got = token_losses(&params[0], &map, &labels, precision)?;
            assert!(got.iter().zip(&labels).all(|(loss, label)| loss.is_some() == label.is_some()));
            let got: Vec<f64> = got.iter().map(|loss| loss.map_or(0.0, f64::from)).collect();
            assert_close("token losses", &got, &losses, tolerance);
            let loss = loss(&params, &labels, normalizer, precision)?;
            let mean = losses.iter().sum::<f64>() / normalizer;
            assert_close("loss", &[f64::from(loss.scalar()?)], &[mean], tolerance);
            loss.backward()?;
            for (i, (got, expected)) in collected(&gradients).into_iter().zip(&expected).enumerate() {
                let got: Vec<f64> = got.ok_or("none")?.into_iter().map(f64::from).collect();
                assert_close(&format!("{size:?} {precision:?} gradient {i}"), &got, expected, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn loss_when_no_row_has_a_label_is_zero_and_so_are_its_gradients() -> Outcome {
    for n in [0, 1, 7] {
        let (params, gradients) = parameters(&tensors([n, 5, 2051])?)?;
        let loss = loss(&params, &vec![None; n], 1.0, Precision::F32)?;
        assert_eq!(loss.scalar()?, 0.0);
        loss.backward()?;
        let zeros = [n * 5, 2051 * 5, 2051].map(|n| Some(vec![0.0; n]));
        assert_eq!(collected(&gradients), zeros);
        assert_eq!(
            token_losses(&params[0], &Affine::new(&params[1], None)?, &vec![None; n], Precision::F32)?,
            vec![None; n]
        );
    }
    Ok(())
}

#[test]
fn loss_when_a_side_is_frozen_gives_the_others_the_same_gradient() -> Outcome {
    let (tensors, labels) = (tensors([7, 5, 37])?, labels(7, 37));
    let run = |trained: [bool; 3]| -> Result<_> {
        let (params, gradients) = parameters(&tensors)?;
        let input = |i: usize| if trained[i] { params[i].clone() } else { Var::constant(tensors[i].clone()) };
        loss(&[input(0), input(1), input(2)], &labels, 3.0, Precision::F32)?.backward()?;
        Ok(collected(&gradients))
    };
    let all = run([true; 3])?;
    for which in 0..8 {
        let trained = [which & 1 > 0, which & 2 > 0, which & 4 > 0];
        let expected: Vec<_> = all.iter().zip(trained).map(|(g, trained)| g.clone().filter(|_| trained)).collect();
        assert_eq!(run(trained)?, expected, "{trained:?}");
    }
    Ok(())
}

#[test]
fn weight_when_it_is_the_embedding_too_receives_both_gradients() -> Outcome {
    let (d, v) = (6, 2051);
    let ids: Arc<[u32]> = vec![3, 2050, 3, 0, 700].into();
    let labels = [Some(2050), Some(3), None, Some(700), Some(3)];
    let args = [random(2, &[v, d])?];
    check(
        "tied",
        &args,
        |a| {
            let hidden = embedding(&a[0], ids.clone())?;
            vocabulary_loss(&hidden, &Affine::new(&a[0], None)?, labels.to_vec(), 4.0, Precision::F32)
        },
        |a| {
            let hidden = ids.iter().flat_map(|&id| a[0][id as usize * d..][..d].to_vec()).collect();
            vec![reference(&[hidden, a[0].clone()], [5, d, v], &labels, 4.0).0.iter().sum::<f64>() / 4.0]
        },
    )
}

#[test]
fn loss_when_it_is_a_part_of_a_sum_passes_the_gradient_on() -> Outcome {
    let (tensors, labels) = (tensors([7, 5, 37])?, labels(7, 37));
    let run = |factor: f32, normalizer| -> Result<_> {
        let (params, gradients) = parameters(&tensors)?;
        let loss = loss(&params, &labels, normalizer, Precision::F32)?;
        weighted_sum(&[(&Scale::new(factor).apply(&loss)?, &[1.0])])?.backward()?;
        Ok(collected(&gradients))
    };
    assert_eq!(run(-8.0, 4.0)?, run(1.0, -0.5)?);
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn loss_when_hidden_states_are_bf16_equals_that_of_the_same_values() -> Outcome {
    let ([hidden, weight, bias], labels) = (tensors([70, 33, 2051])?, labels(70, 2051));
    let narrow = as_type(&hidden, DType::BF16)?;
    let run = |hidden: Array| -> Result<_> {
        let (params, gradients) = parameters(&[hidden, weight.clone(), bias.clone()])?;
        let loss = loss(&params, &labels, 70.0, Precision::Bf16)?;
        let value = loss.scalar()?;
        loss.backward()?;
        Ok((value, collected(&gradients)))
    };
    assert_eq!(run(narrow.clone())?, run(as_type(&narrow, DType::F32)?)?);
    Ok(())
}

#[test]
fn loss_when_logits_are_large_is_finite() -> Outcome {
    let hidden = Var::constant(Array::new(vec![1000.0, -1000.0], (1, 2))?);
    let weight = Var::constant(Array::new(vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.0], (3, 2))?);
    let map = Affine::new(&weight, None)?;
    for (label, expected) in [(0, 0.0), (1, 2000.0), (2, 500.0)] {
        assert_eq!(token_losses(&hidden, &map, &[Some(label)], Precision::F32)?, [Some(expected)]);
    }
    let broken = Var::constant(Array::new(vec![f32::NAN, 0.0], (1, 2))?);
    assert!(vocabulary_loss(&broken, &map, vec![Some(0)], 1.0, Precision::F32)?.scalar()?.is_nan());
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn loss_when_the_number_of_threads_changes_is_the_same_bytes() -> Outcome {
    let (tensors, labels) = (tensors([300, 96, 4101])?, labels(300, 4101));
    let run = |precision| -> Result<Vec<Vec<u32>>> {
        let (params, gradients) = parameters(&tensors)?;
        let loss = loss(&params, &labels, 200.0, precision)?;
        let value = Some(vec![loss.scalar()?]);
        loss.backward()?;
        let all = [value].into_iter().chain(collected(&gradients));
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

#[test]
fn loss_when_shapes_do_not_fit_is_refused() -> Outcome {
    let [hidden, weight, bias] = tensors([2, 5, 37])?.map(Var::constant);
    let map = Affine::new(&weight, Some(&bias))?;
    let refused = |hidden: &Var, map: &Affine, labels: &[Option<u32>]| {
        let error = token_losses(hidden, map, labels, Precision::F32).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("vocabulary loss")));
        assert!(vocabulary_loss(hidden, map, labels.to_vec(), 1.0, Precision::F32).is_err());
    };
    refused(&hidden, &map, &[Some(0)]);
    refused(&hidden, &map, &[Some(0), Some(37)]);
    refused(&weight, &Affine::new(&hidden, None)?.outputs(0..1)?, &[None; 37]);
    refused(&Var::constant(random(1, &[2, 37])?), &Affine::input_major(&weight, None)?, &[None, None]);
    refused(&Var::constant(random(1, &[2, 4])?), &map, &[None, None]);
    Ok(())
}
