//! LSTM and GRU over packed sequences against plain f64 loops over each sequence by itself.

use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::backbone::{Owner, Parameters};
use warmstart::bridge::{Cell, Recurrent, RecurrentDropout};
use warmstart::compute::{in_pool, set_num_threads};
use warmstart::error::Result;
use warmstart::ops::dropout::Dropout;
use warmstart::rng::{Key, Stream};

use crate::tests::checks::{Outcome, assert_close, check, factors};
use crate::tests::ops::{collected, f64s, parameters, random, scaled, sum, weighted_sum};

fn starts(lengths: &[u32]) -> Vec<u32> {
    let ends = lengths.iter().scan(0, |end, n| {
        *end += n;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `W x + b`.
fn affine(w: &[f64], b: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).zip(b).map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}

/// The outputs `[H]` of a cell at each of `rows`, from zeros on; `p` are the weights and biases of inputs and states.
fn run(cell: Cell, rows: &[&[f64]], p: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let gates = if cell == Cell::Lstm { 4 } else { 3 };
    let n = p[2].len() / gates;
    let (mut h, mut c, mut outputs) = (vec![0.0; n], vec![0.0; n], Vec::new());
    for x in rows {
        let (i, s) = (affine(&p[0], &p[2], x), affine(&p[1], &p[3], &h));
        for j in 0..n {
            let gate = |k: usize| sigmoid(i[k * n + j] + s[k * n + j]);
            if cell == Cell::Lstm {
                c[j] = gate(1) * c[j] + gate(0) * (i[2 * n + j] + s[2 * n + j]).tanh();
                h[j] = gate(3) * c[j].tanh();
            } else {
                let new = (i[2 * n + j] + gate(0) * s[2 * n + j]).tanh();
                h[j] = (1.0 - gate(1)) * new + gate(1) * h[j];
            }
        }
        outputs.push(h.clone());
    }
    outputs
}

/// Outputs at every token of one sequence, `[T, H]` or `[T, 2H]`; `v` holds the rows and then four parameters a direction. Between
/// layers values are multiplied by `masks`, which lie in the batch from `at` on.
fn sequence(cell: Cell, v: &[Vec<f64>], d: usize, directions: usize, masks: &[Vec<f64>], at: usize) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = v[0].chunks(d).map(<[f64]>::to_vec).collect();
    for (layer, p) in v[1..].chunks(4 * directions).enumerate() {
        if layer > 0 && !masks.is_empty() {
            let mask = masks[layer - 1].chunks(rows.first().map_or(1, Vec::len)).skip(at);
            rows.iter_mut().zip(mask).for_each(|(row, mask)| row.iter_mut().zip(mask).for_each(|(x, m)| *x *= m));
        }
        let forward: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let mut outputs = run(cell, &forward, &p[..4]);
        if directions == 2 {
            let backward: Vec<&[f64]> = forward.into_iter().rev().collect();
            let reversed = run(cell, &backward, &p[4..]).into_iter().rev();
            outputs.iter_mut().zip(reversed).for_each(|(row, other)| row.extend(other));
        }
        rows = outputs;
    }
    rows
}

/// Of each packed sequence by itself.
fn formula(cell: Cell, v: &[Vec<f64>], starts: &[u32], d: usize, directions: usize, masks: &[Vec<f64>]) -> Vec<f64> {
    let one = |w: &[u32]| {
        let rows = v[0][w[0] as usize * d..w[1] as usize * d].to_vec();
        let own: Vec<Vec<f64>> = std::iter::once(rows).chain(v[1..].iter().cloned()).collect();
        sequence(cell, &own, d, directions, masks, w[0] as usize).concat()
    };
    starts.windows(2).flat_map(one).collect()
}

/// The parameters of `network` with these values.
fn with_values(network: &Recurrent, values: &[Var]) -> Result<Parameters> {
    let mut all = Parameters::default();
    for (spec, value) in network.specs().iter().zip(values) {
        all.insert(&spec.name, &Owner::head("test"), value.array().clone());
        all.replace_value(&spec.name, value.clone())?;
    }
    Ok(all)
}

/// Rows `[T, D]`, then every parameter with values of half a unit.
fn arguments(network: &Recurrent, t: usize, d: usize) -> Result<Vec<Array>> {
    let parameter = |(i, spec): (usize, _)| {
        let spec: &warmstart::backbone::Spec = spec;
        scaled(&random(20 + i as u64, &spec.shape)?, 0.5)
    };
    let rest = network.specs().iter().enumerate().map(parameter).collect::<Result<Vec<_>>>()?;
    Ok(std::iter::once(random(1, &[t, d])?).chain(rest).collect())
}

#[test]
fn recurrent_layers_when_lengths_differ_agree_forward_and_backward() -> Outcome {
    let lengths: [&[u32]; 4] = [&[1], &[3, 1, 5], &[2, 0, 17, 1, 2], &[35, 33, 1]];
    for cell in [Cell::Lstm, Cell::Gru] {
        for (i, lengths) in lengths.into_iter().enumerate() {
            for (layers, bidirectional, [d, h]) in [(1, false, [1, 1]), (1, true, [5, 3]), (2, true, [2, 3])] {
                if i == 3 && layers == 2 {
                    continue;
                }
                let (starts, directions) = (starts(lengths), if bidirectional { 2 } else { 1 });
                let network = Recurrent::new("rnn", cell, [d, h], layers, bidirectional)?;
                let arguments = arguments(&network, lengths.iter().sum::<u32>() as usize, d)?;
                check(
                    &format!("{cell:?} of {layers} layers, lengths {lengths:?}"),
                    &arguments,
                    |a| network.forward(&a[0], &starts, &with_values(&network, &a[1..])?, None),
                    |v| formula(cell, v, &starts, d, directions, &[]),
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn recurrent_layers_when_asked_where_they_end_take_each_direction_at_its_end() -> Outcome {
    let (lengths, [d, h]) = ([4, 1, 0, 18], [3, 2]);
    let starts = starts(&lengths);
    for cell in [Cell::Lstm, Cell::Gru] {
        let network = Recurrent::new("rnn", cell, [d, h], 1, true)?;
        assert_eq!(network.output_size(), 2 * h);
        let ends = |v: &[Vec<f64>]| {
            let rows = formula(cell, v, &starts, d, 2, &[]);
            let row = |i: u32| &rows[i as usize * 2 * h..][..2 * h];
            let end = |w: &[u32]| {
                if w[0] == w[1] { vec![0.0; 2 * h] } else { [&row(w[1] - 1)[..h], &row(w[0])[h..]].concat() }
            };
            starts.windows(2).flat_map(end).collect()
        };
        check(
            "ends",
            &arguments(&network, 23, d)?,
            |a| network.last(&a[0], &starts, &with_values(&network, &a[1..])?, None),
            ends,
        )?;
    }
    Ok(())
}

#[test]
fn dropout_between_layers_when_keyed_agrees_and_is_the_same_again() -> Outcome {
    let (starts, [d, h], key) = (starts(&[3, 1, 4]), [2, 3], Key::new(3, Stream::Dropout));
    let network = Recurrent::new("rnn", Cell::Lstm, [d, h], 3, true)?;
    let mask = |layer: u64| factors(Dropout::new(0.4, key.child(layer)), &[8, 2 * h]);
    let masks = [mask(1)?, mask(2)?];
    assert_ne!(masks[0], masks[1]);
    check(
        "lstm with dropout",
        &arguments(&network, 8, d)?,
        |a| {
            let dropout = Some(RecurrentDropout { p: 0.4, key });
            network.forward(&a[0], &starts, &with_values(&network, &a[1..])?, dropout)
        },
        |v| formula(Cell::Lstm, v, &starts, d, 2, &masks),
    )
}

#[test]
fn sequence_when_others_lie_beside_it_gives_what_it_gives_alone() -> Outcome {
    let (lengths, [d, h]) = ([7, 1, 40, 12, 2], [13, 9]);
    let starts = starts(&lengths);
    for cell in [Cell::Lstm, Cell::Gru] {
        let network = Recurrent::new("rnn", cell, [d, h], 2, true)?;
        let parameters = Parameters::initialised(&network.specs(), Key::new(1, Stream::Init))?;
        let x = random(1, &[62, d])?;
        let together = network.forward(&Var::constant(x.clone()), &starts, &parameters, None)?;
        for w in starts.windows(2) {
            let (first, n) = (w[0] as usize, w[1] - w[0]);
            let own = Var::constant(x.rows(first, n as usize)?);
            let alone = network.forward(&own, &[0, n], &parameters, None)?;
            // Products of other sizes sum in another order.
            assert_close("alone", &f64s(&together.array().rows(first, n as usize)?)?, &f64s(alone.array())?, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn recurrent_layers_when_the_batch_is_empty_give_no_rows_and_zero_gradients() -> Outcome {
    for cell in [Cell::Lstm, Cell::Gru] {
        let network = Recurrent::new("rnn", cell, [3, 2], 2, true)?;
        for starts in [&[0][..], &[0, 0, 0]] {
            let (values, gradients) = parameters(&arguments(&network, 0, 3)?)?;
            let all = with_values(&network, &values[1..])?;
            let y = network.forward(&values[0], starts, &all, None)?;
            let last = network.last(&values[0], starts, &all, None)?;
            assert_eq!((y.array().dims(), last.array().dims()), (&[0, 4][..], &[starts.len() - 1, 4][..]));
            let zeros = vec![1.0; last.array().elem_count()];
            weighted_sum(&[(&y, &[]), (&last, &zeros)])?.backward()?;
            for (i, gradient) in collected(&gradients).into_iter().enumerate() {
                assert!(gradient.ok_or(format!("argument {i} has none"))?.iter().all(|g| *g == 0.0));
            }
        }
    }
    Ok(())
}

#[test]
fn parameters_when_new_have_the_names_shapes_and_bound_of_torch() -> Outcome {
    let network = Recurrent::new("head.lstm", Cell::Lstm, [5, 4], 2, true)?;
    let specs = network.specs();
    let named = |name: &str| specs.iter().find(|spec| spec.name == name).map(|spec| spec.shape.clone());
    assert_eq!(specs.len(), 16);
    assert_eq!(named("head.lstm.weight_ih_l0"), Some(vec![16, 5]));
    assert_eq!(named("head.lstm.weight_hh_l0_reverse"), Some(vec![16, 4]));
    assert_eq!(named("head.lstm.weight_ih_l1_reverse"), Some(vec![16, 8]));
    assert_eq!(named("head.lstm.bias_hh_l1"), Some(vec![16]));
    let gru = Recurrent::new("gru", Cell::Gru, [5, 4], 1, false)?.specs();
    assert_eq!(
        gru.iter().map(|spec| spec.shape.clone()).collect::<Vec<_>>(),
        [vec![12, 5], vec![12, 4], vec![12], vec![12]]
    );
    let values = Parameters::initialised(&specs, Key::new(1, Stream::Init))?;
    let all: Vec<f64> = values.iter().map(|(_, array)| f64s(array)).collect::<Result<Vec<_>>>()?.concat();
    assert!(all.iter().all(|x| x.abs() <= 0.5) && all.iter().any(|x| *x > 0.48) && all.iter().any(|x| *x < -0.48));
    assert!((all.iter().sum::<f64>() / all.len() as f64).abs() < 0.05);
    assert!(Recurrent::new("gru", Cell::Gru, [5, 0], 1, false).is_err());
    Ok(())
}

#[test]
fn recurrent_layers_when_given_rows_that_do_not_fit_are_refused() -> Outcome {
    let network = Recurrent::new("rnn", Cell::Gru, [3, 2], 1, false)?;
    let parameters = Parameters::initialised(&network.specs(), Key::new(1, Stream::Init))?;
    for (shape, starts) in [([4, 2], &[0, 4][..]), ([4, 3], &[0, 5]), ([4, 3], &[0, 3, 2, 4]), ([4, 3], &[])] {
        assert!(network.forward(&Var::constant(random(1, &shape)?), starts, &parameters, None).is_err(), "{starts:?}");
    }
    let narrow = Parameters::initialised(
        &Recurrent::new("rnn", Cell::Gru, [4, 2], 1, false)?.specs(),
        Key::new(1, Stream::Init),
    )?;
    let error = network.forward(&Var::constant(random(1, &[4, 3])?), &[0, 4], &narrow, None).err().ok_or("accepted")?;
    assert!(error.to_string().contains("rnn.weight_ih_l0"), "{error}");
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn recurrent_layers_when_a_text_is_long_do_not_overflow_the_stack() -> Outcome {
    let n = 20_000;
    let network = Recurrent::new("rnn", Cell::Lstm, [2, 1], 1, true)?;
    let (values, gradients) = parameters(&arguments(&network, n, 2)?)?;
    sum(&network.forward(&values[0], &[0, n as u32], &with_values(&network, &values[1..])?, None)?)?.backward()?;
    assert!(collected(&gradients).into_iter().all(|g| g.is_some_and(|g| g.iter().all(|g| g.is_finite()))));
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "more arithmetic than an interpreter does in minutes")]
fn recurrent_layers_when_threads_differ_give_the_same_bits() -> Outcome {
    let network = Recurrent::new("rnn", Cell::Lstm, [33, 65], 1, true)?;
    let starts = starts(&[40, 3, 77, 19]);
    let arguments = arguments(&network, 139, 33)?;
    let run = || -> Result<Vec<Vec<u32>>> {
        let (values, gradients) = parameters(&arguments)?;
        let y = network.forward(&values[0], &starts, &with_values(&network, &values[1..])?, None)?;
        let rows = y.array().values()?.to_vec();
        weighted_sum(&[(&y, &rows)])?.backward()?;
        let all = std::iter::once(Some(rows)).chain(collected(&gradients));
        Ok(all.map(|v| v.unwrap().into_iter().map(f32::to_bits).collect()).collect())
    };
    let mut results = Vec::new();
    for threads in [1, 2, 3] {
        set_num_threads(threads);
        results.push(in_pool(run)?);
    }
    set_num_threads(0);
    assert!(results.windows(2).all(|w| w[0] == w[1]));
    Ok(())
}
