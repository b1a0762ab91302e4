//! Gradients in one buffer, and what AdamW makes of them.

use warmstart::array::Array;
use warmstart::autograd::{self, Gradient, Var};
use warmstart::backbone::Level;
use warmstart::compute::CHUNK;
use warmstart::error::{Error, Result};
use warmstart::head::{Classification, Head, Targets};
use warmstart::ops::embedding::embedding;
use warmstart::optim::{AdamW, Gradients, Trainable};

use crate::tests::ops::weighted_sum;
use crate::tests::training::{OUTPUTS, texts};

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

/// A parameter that is trained, and the value to compute with.
fn trained(name: &str, values: &[f32], shape: &[usize]) -> Result<Trainable> {
    let array = Array::new(values.to_vec(), shape)?.overwritable()?;
    Ok(Trainable { name: name.into(), array, learning_rate: 1.0, weight_decay: 0.0 })
}

fn learning(trainable: &[Trainable], slots: Vec<autograd::GradientSlot>) -> Result<Vec<Var>> {
    trainable.iter().zip(slots).map(|(p, slot)| Var::parameter(p.array.clone(), slot)).collect()
}

#[test]
fn audit_when_a_gradient_is_missing_or_not_finite_names_the_parameter() -> Checked {
    let trainable: Vec<Trainable> = ["reached", "cut off", "infinite"]
        .into_iter()
        .map(|name| trained(name, &[1.0, 2.0], &[2]))
        .collect::<Result<_>>()?;
    let gradients = Gradients::new(&trainable)?;
    let values = learning(&trainable, gradients.slots())?;
    weighted_sum(&[(&values[0], &[2.0, 4.0]), (&values[2], &[1.0, f32::INFINITY])])?.backward()?;
    assert_eq!(gradients.audit(&trainable)?, ["cut off: no gradient", "infinite: not finite"]);
    assert!(gradients.norm()?.is_infinite());
    gradients.clear();
    assert_eq!((gradients.audit(&trainable)?.len(), gradients.norm()?), (3, 0.0));
    weighted_sum(&[(&values[0], &[3.0, 4.0])])?.backward()?;
    assert_eq!(gradients.norm()?, 5.0);
    Ok(())
}

#[test]
fn adamw_when_most_rows_meet_no_gradient_changes_the_same_bytes() -> Checked {
    // A third of the rows is met at the first steps, a third later, the rest never.
    let (v, d) = (5 * CHUNK / 33, 33);
    let begin: Vec<f32> = (0..v * d).map(|i| (i % 13) as f32 - 6.0).collect();
    let run = |by_rows: bool| -> Result<(Vec<f32>, Vec<f64>)> {
        let mut trainable = [trained("table", &begin, &[v, d])?];
        trainable[0].weight_decay = 0.1;
        let mut optimiser = AdamW::new(&trainable, 0.9, 0.999, 1e-8)?;
        let gradients = Gradients::new(&trainable)?;
        let mut norms = Vec::new();
        for step in 0..4 {
            gradients.clear();
            let parameters = learning(&trainable, gradients.slots())?;
            let ids: Vec<u32> = (0..(v / 3 * (1 + step / 2)) as u32).filter(|id| id % 50 == step as u32).collect();
            let weights: Vec<f32> = (0..ids.len() * d).map(|i| 1.0 + (i % 7) as f32).collect();
            if by_rows {
                let rows = embedding(&parameters[0], ids.into())?;
                weighted_sum(&[(&rows, &weights)])?.backward()?;
            } else {
                let mut all = vec![0.0; v * d];
                for (row, id) in weights.chunks(d).zip(ids) {
                    all[id as usize * d..][..d].copy_from_slice(row);
                }
                weighted_sum(&[(&parameters[0], &all)])?.backward()?;
            }
            assert_eq!(gradients.audit(&trainable)?, Vec::<String>::new());
            norms.push(gradients.norm()?);
            optimiser.step(&trainable, &gradients, 1.0, 0.1)?;
        }
        Ok((trainable[0].array.values()?.to_vec(), norms))
    };
    let ((quick, quick_norms), (all, norms)) = (run(true)?, run(false)?);
    assert!(quick.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(quick_norms.iter().zip(&norms).all(|(a, b)| (a - b).abs() <= 1e-12 * b), "{quick_norms:?} {norms:?}");
    let last = v * d - 1;
    let decayed = (0..4).fold(f64::from(begin[last]), |p, _| p * (1.0 - 0.1 * 0.1));
    assert!((f64::from(quick[last]) - decayed).abs() < 1e-6, "{} {decayed}", quick[last]);
    Ok(())
}

#[test]
fn gradients_when_accumulated_over_uneven_batches_equal_those_of_one() -> Checked {
    for class_weight in [None, Some(vec![0.5, 2.0, 1.0])] {
        let head =
            Classification { class_weight, label_smoothing: 0.1, ..Classification::new(Level::Texts, OUTPUTS, false) };
        let targets = Targets { truth: texts(7).1, weights: None };
        let values = (0..21).map(|i| (i * 5 % 11) as f32 / 3.0).collect::<Vec<_>>();
        let trainable = [trained("logits", &values, &[7, OUTPUTS])?];
        let all: Vec<usize> = (0..7).collect();
        let normalizer = head.normalizer(&targets);
        let collect = |groups: &[&[usize]]| -> Result<Vec<f32>> {
            let gradients = Gradients::new(&trainable)?;
            let logits = learning(&trainable, gradients.slots())?;
            for group in groups {
                let rows = embedding(&logits[0], group.iter().map(|&i| i as u32).collect())?;
                head.loss_of_logits(&rows, &targets.select(group, OUTPUTS), normalizer)?.backward()?;
            }
            gradients.read(|g| g[0].map(Gradient::to_vec))?.ok_or_else(|| Error::Value("none".into()))
        };
        let (one, many) = (collect(&[&all])?, collect(&[&all[..3], &all[3..6], &all[6..]])?);
        let worst = one.iter().zip(&many).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-7, "{worst}");
    }
    Ok(())
}
