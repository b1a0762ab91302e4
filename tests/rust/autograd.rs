//! The walk backward: sums over uses, what is skipped, what is freed, and that computing again changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use warmstart::array::Array;
use warmstart::autograd::{Op, Slot, Var, checkpoint};
use warmstart::error::Result;
use warmstart::matmul::Precision;
use warmstart::ops::activation::Activation;
use warmstart::ops::dropout::Dropout;
use warmstart::ops::embedding::embedding;
use warmstart::ops::norm::residual_norm;
use warmstart::rng::{Key, Stream};

use crate::tests::ops::{Scale, attention, collected, layer_norm, linear, parameters, random, sum, weighted_sum};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

fn bits(gradients: &[Option<Vec<f32>>]) -> Vec<Option<Vec<u32>>> {
    gradients.iter().map(|g| g.as_ref().map(|g| g.iter().map(|x| x.to_bits()).collect())).collect()
}

#[test]
fn gradient_when_a_value_is_used_several_times_is_the_sum() -> Outcome {
    let x = random(1, &[3, 2])?;
    let (params, gradients) = parameters(&[x])?;
    // Once as it is, twice through one operation, once through a chain: 1 + 2 * 10 + 4 * 100.
    let doubled = Scale::new(2.0).apply(&params[0])?;
    let again = Scale::new(2.0).apply(&doubled)?;
    let (ones, tens, hundreds) = ([1.0; 6], [10.0; 6], [100.0; 6]);
    let loss = weighted_sum(&[(&params[0], &ones), (&doubled, &tens), (&again, &hundreds)])?;
    drop((doubled, again));
    loss.backward()?;
    assert_eq!(collected(&gradients), [Some(vec![421.0; 6])]);
    Ok(())
}

#[test]
fn gradient_when_one_operation_takes_a_value_twice_is_the_sum() -> Outcome {
    let cu: Arc<[u32]> = vec![0, 5, 9].into();
    let (x, weights) = (random(1, &[9, 4])?, (0..36).map(|i| i as f32 / 7.0 - 2.0).collect::<Vec<_>>());
    for through in [false, true] {
        let (params, gradients) = parameters(&[x.clone(), x.clone(), x.clone(), x.clone()])?;
        let value = |i: usize| if through { Scale::new(1.0).apply(&params[i]) } else { Ok(params[i].clone()) };
        let (one, q, k, v) = (value(0)?, value(1)?, value(2)?, value(3)?);
        let same = attention(&one, &one, &one, cu.clone(), 2, None, Precision::F32)?;
        let apart = attention(&q, &k, &v, cu.clone(), 2, None, Precision::F32)?;
        weighted_sum(&[(&same, &weights), (&apart, &weights)])?.backward()?;
        let got: Vec<Vec<f32>> = collected(&gradients).into_iter().collect::<Option<_>>().ok_or("no gradient")?;
        for (i, sum) in got[0].iter().enumerate() {
            assert!((sum - (got[1][i] + got[2][i] + got[3][i])).abs() < 1e-5, "{through} {i}");
        }
    }
    Ok(())
}

/// Notes which of its inputs' gradients are asked for, and fails if the others are written.
struct Picky(Arc<std::sync::Mutex<Vec<bool>>>);

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }

    fn backward(&self, _: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        for slot in into {
            let wanted = slot.wanted();
            self.0.lock().unwrap().push(wanted);
            let zeros = |values: &mut [f32], add: bool| {
                assert!(wanted, "a frozen side was computed");
                if !add {
                    values.fill(0.0);
                }
            };
            slot.write(zeros)?;
            let open = slot.open()?.map(|(values, add)| zeros(values, add));
            assert_eq!(open.is_some(), wanted);
            slot.give(gradient.clone())?;
        }
        Ok(())
    }
}

#[test]
fn input_when_frozen_gets_no_gradient_and_is_not_asked_for() -> Outcome {
    let x = random(1, &[1])?;
    let (params, _gradients) = parameters(std::slice::from_ref(&x))?;
    let (frozen, seen) = (Var::constant(x.clone()), Arc::default());
    // What follows from constants alone is a constant too, and its operation is not kept.
    let scale = Scale::new(3.0);
    let alive = scale.alive.clone();
    let followed = scale.apply(&frozen)?;
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(!Var::differentiable(&[&frozen, &followed]));
    Var::computed(x, &[&frozen, &params[0], &followed], Picky(Arc::clone(&seen))).backward()?;
    assert_eq!(*seen.lock().unwrap(), [false, true, false]);
    followed.backward()?;
    Ok(())
}

#[test]
fn operations_when_passed_are_freed_during_backward() -> Outcome {
    let (params, gradients) = parameters(&[random(1, &[4])?])?;
    let first = Scale::new(1.0);
    let (backwards, seen) = (first.backwards.clone(), first.seen.clone());
    let mut value = params[0].clone();
    for _ in 0..4 {
        value = first.twin().apply(&value)?;
    }
    let loss = sum(&value)?;
    drop(value);
    loss.backward()?;
    // `first` itself and the operations not yet passed: each is gone before the next runs.
    assert_eq!((backwards.load(Ordering::Relaxed), seen.lock().unwrap().clone()), (4, vec![5, 4, 3, 2]));
    assert_eq!(Arc::strong_count(&first.alive), 1);
    assert_eq!(collected(&gradients), [Some(vec![1.0; 4])]);
    Ok(())
}

#[test]
fn chain_when_very_long_is_dropped_without_exhausting_the_stack() -> Outcome {
    let (params, _gradients) = parameters(&[random(1, &[1])?])?;
    let mut value = params[0].clone();
    for _ in 0..if cfg!(miri) { 2_000 } else { 200_000 } {
        value = Var::computed(value.array().clone(), &[&value], Scale::new(1.0));
    }
    drop(value);
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn gradients_when_rows_and_the_whole_table_arrive_in_either_order_are_their_sum() -> Outcome {
    let (v, d) = (2500, 33); // rows of several tasks
    let (params, gradients) = parameters(&[random(1, &[v, d])?])?;
    let ids: Arc<[u32]> = [3, 2499, 3, 1200].into();
    let weights: Vec<f32> = (0..v * d).map(|i| (i % 11) as f32 - 5.0).collect();
    let rows = || weighted_sum(&[(&embedding(&params[0], ids.clone())?, &weights[..4 * d])])?.backward();
    let whole = || weighted_sum(&[(&params[0], &weights)])?.backward();
    let mut of_rows = vec![0.0; v * d];
    for (t, &id) in ids.iter().enumerate() {
        (0..d).for_each(|i| of_rows[id as usize * d + i] += weights[t * d + i]);
    }
    let both: Vec<f32> = of_rows.iter().zip(&weights).map(|(a, b)| a + b).collect();
    let twice: Vec<f32> = of_rows.iter().map(|a| 2.0 * a).collect();
    for _ in 0..2 {
        // What an earlier round has left must not be seen.
        gradients.clear();
        rows()?;
        assert_eq!(collected(&gradients), [Some(of_rows.clone())]);
        rows()?;
        assert_eq!(collected(&gradients), [Some(twice.clone())]);
        gradients.clear();
        rows()?;
        whole()?;
        assert_eq!(collected(&gradients), [Some(both.clone())]);
        gradients.clear();
        whole()?;
        rows()?;
        assert_eq!(collected(&gradients), [Some(both.clone())]);
        gradients.clear();
        let table = Scale::new(2.0).apply(&params[0])?;
        let picked = [embedding(&table, ids.clone())?, embedding(&table, ids.clone())?];
        weighted_sum(&[(&picked[0], &weights[..4 * d]), (&picked[1], &weights[..4 * d])])?.backward()?;
        assert_eq!(collected(&gradients), [Some(of_rows.iter().map(|a| 4.0 * a).collect())]);
    }
    Ok(())
}

#[test]
fn gradients_when_two_batches_arrive_are_their_sum_and_begin_anew_when_cleared() -> Outcome {
    let (w, b) = (random(1, &[5, 7])?, random(2, &[5])?);
    let batches = [random(3, &[11, 7])?, random(4, &[6, 7])?];
    let (params, gradients) = parameters(&[w, b, random(5, &[2])?])?;
    let run = |batch: &Array| {
        let y = linear(
            &Var::constant(batch.clone()),
            &params[0],
            Some(&params[1]),
            Some(Activation::Tanh),
            Precision::F32,
        )?;
        sum(&y)?.backward()
    };
    let mut alone = Vec::new();
    for batch in &batches {
        gradients.clear();
        run(batch)?;
        alone.push(collected(&gradients));
    }
    gradients.clear();
    assert_eq!(collected(&gradients), [None, None, None]);
    batches.iter().try_for_each(run)?;
    let together = collected(&gradients);
    assert_eq!(together[2], None);
    for p in 0..2 {
        let of = |g: &[Option<Vec<f32>>]| g[p].clone().ok_or("no gradient");
        let (first, second, both) = (of(&alone[0])?, of(&alone[1])?, of(&together)?);
        for ((a, b), sum) in first.iter().zip(&second).zip(&both) {
            assert!((a + b - sum).abs() <= 1e-6 * (1.0 + sum.abs()), "{a} + {b} is not {sum}");
        }
    }
    Ok(())
}

#[test]
fn checkpoint_when_run_again_gives_the_same_bits() -> Outcome {
    let tensors = [random(1, &[40, 8])?, random(2, &[8, 8])?, random(3, &[8])?, random(4, &[8])?];
    let starts: Arc<[u32]> = vec![0, 17, 40].into();
    let run = |recompute: bool, trained: usize| -> Result<_> {
        let (params, gradients) = parameters(&tensors)?;
        // The first `trained` are trained, the others frozen.
        let value = |i: usize| if i < trained { params[i].clone() } else { Var::constant(tensors[i].clone()) };
        let (w, b, norm, starts) = (value(1), value(2), value(3), starts.clone());
        let layer = move |x: &[Var]| {
            let drop = |i| Some(Dropout::new(0.3, Key::new(5, Stream::Dropout).child(i)));
            let y = linear(&x[0], &w, Some(&b), Some(Activation::Gelu), Precision::F32)?;
            let y = attention(&y, &y, &x[0], starts.clone(), 2, drop(0), Precision::F32)?;
            residual_norm(&y, &x[0], &layer_norm(&norm, &b, 1e-5), drop(1))
        };
        let mut x = Scale::new(1.5).apply(&value(0))?;
        let first = x.clone();
        for _ in 0..2 {
            x = if recompute { checkpoint(&[&x], layer.clone())? } else { layer(&[x])? };
        }
        // The input of the first layer has another use above it.
        let weights: Vec<f32> = (0..320).map(|i| (i % 13) as f32 - 5.0).collect();
        let loss = weighted_sum(&[(&x, &weights), (&first, &weights)])?;
        let value = loss.scalar()?.to_bits();
        drop((x, first));
        let differentiable = Var::differentiable(&[&loss]);
        loss.backward()?;
        Ok((value, differentiable, bits(&collected(&gradients))))
    };
    for trained in 0..=4 {
        let (plain, again) = (run(false, trained)?, run(true, trained)?);
        assert_eq!(plain, again, "{trained} trained");
        assert_eq!(plain.1, trained > 0);
        assert_eq!(plain.2.iter().filter(|g| g.is_some()).count(), trained);
    }
    Ok(())
}

#[test]
fn checkpoint_when_forward_ends_keeps_nothing_of_the_inside() -> Outcome {
    let (params, gradients) = parameters(&[random(1, &[4])?, random(2, &[4])?])?;
    let inside = Scale::new(2.0);
    let (alive, backwards) = (inside.alive.clone(), inside.backwards.clone());
    // The input is a constant: the parameter that the part holds is what wants a gradient.
    let held = params[1].clone();
    let y = checkpoint(&[&Var::constant(random(3, &[4])?)], move |_| inside.twin().apply(&held))?;
    assert_eq!(Arc::strong_count(&alive), 2, "the part's own and this one");
    sum(&y)?.backward()?;
    assert_eq!(backwards.load(Ordering::Relaxed), 1);
    assert_eq!(collected(&gradients), [None, Some(vec![2.0; 4])]);
    Ok(())
}

#[test]
fn misuse_when_it_happens_is_an_error() -> Outcome {
    let (params, gradients) = parameters(&[random(1, &[4])?])?;
    let error = params[0].clone().backward().err().ok_or("a vector was differentiated")?;
    assert!(error.to_string().contains("expected a scalar"), "{error}");
    let slot = gradients.slots().remove(0);
    assert!(Var::parameter(random(1, &[5])?, slot).is_err());
    struct Wrong;
    // SAFETY: what is not added to is written, all of it.
    unsafe impl Op for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn backward(&self, _: &[&Array], _: Array, into: &mut [Slot]) -> Result<()> {
            into[0].give(Array::new(vec![0.0; 3], 3)?)
        }
    }
    let wrong = Var::computed(Array::new(vec![0.0], ())?, &[&params[0]], Wrong);
    let error = wrong.backward().err().ok_or("three values were taken for four")?;
    assert!(error.to_string().contains("wrong, backward: a gradient has shape [3], expected [4]"), "{error}");
    Ok(())
}
