//! What XLNet alone has: memory of the segment before, attention in one direction, and two streams.

use std::sync::Arc;

use candle_core::Tensor;
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::backbone::{Backbone, Config, Context, Memory, Mode, Parameters, Prediction, Remember, Transformer};
use warmstart::batch::PackedBatch;
use warmstart::error::Error;
use warmstart::head::{HeadLayers, LanguageBatch, LanguageLoss, LanguageNetwork};
use warmstart::matmul::Precision;
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::ops::embedding::embedding;
use warmstart::text::Encodings;

use super::{Outcome, Reference, difference};

impl Reference {
    fn part(&self, name: &str) -> Result<(Vec<u32>, Vec<u8>), Error> {
        let integers = |what: &str| self.tensors[&format!("{name}.{what}")].to_vec1::<i64>();
        let ids = integers("ids")?.into_iter().map(|id| id as u32).collect();
        Ok((ids, integers("segments")?.into_iter().map(|s| s as u8).collect()))
    }

    /// The prediction recorded for one sequence.
    fn prediction(&self) -> Result<(Vec<bool>, Vec<u32>), Error> {
        let hidden = self.tensors["perm.mask"].flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
        let mapping = self.tensors["perm.target_mapping"].squeeze(0)?.to_dtype(candle_core::DType::F64)?;
        let position = |row: Vec<f64>| row.iter().position(|&x| x == 1.0).unwrap_or(usize::MAX) as u32;
        Ok((hidden.iter().map(|&x| x == 1.0).collect(), mapping.to_vec2::<f64>()?.into_iter().map(position).collect()))
    }
}

fn batch_of(texts: &[(Vec<u32>, Vec<u8>)]) -> PackedBatch {
    PackedBatch::collate(&Encodings::from_ids(texts), (0..texts.len()).collect())
}

/// All tokens of all sequences, at most so many of each.
fn all_of(batch: &PackedBatch, keep: usize) -> Remember {
    let sequences = batch.cu_seqlens.windows(2).map(|w| 0..w[1] - w[0]).enumerate();
    Remember { sequences: sequences.collect(), keep }
}

/// Every hidden state of the tokens, from 0 on.
fn layers(encoder: &Transformer, config: &Config, batch: &PackedBatch, context: &Context) -> Result<Vec<Array>, Error> {
    let (tokens, mut all) = (context.rows(batch)?.tokens, Vec::new());
    encoder.forward_within(batch, context, config.num_hidden_layers, Mode::inference(), &mut |_, hidden| {
        all.push(embedding(hidden, tokens.clone())?.array().clone());
        Ok(())
    })?;
    Ok(all)
}

#[test]
fn xlnet_when_it_remembers_a_segment_agrees_with_transformers() -> Outcome {
    let reference = Reference::open("xlnet_a")?;
    let config = &reference.config;
    let encoder = Transformer::load(&reference.params, config, Precision::F32)?;
    let (first, second) = (reference.part("mems.first")?, reference.part("mems.second")?);
    let before = batch_of(std::slice::from_ref(&first));
    let hidden = layers(&encoder, config, &before, &Context::default())?;
    let memory = Memory::after(None, &hidden, &before.first_tokens(), &all_of(&before, usize::MAX))?;
    let context = Context { memory: Some(memory.clone()), ..Context::default() };
    for (layer, got) in layers(&encoder, config, &batch_of(std::slice::from_ref(&second)), &context)?.iter().enumerate()
    {
        reference.assert_close(&format!("mems.hidden_states.{layer}"), got, 0.0)?;
    }
    // Beside a sequence that remembers nothing and one that remembers more, it is the same.
    let long = batch_of(&[second.clone(), first.clone(), first.clone()]);
    let hidden = layers(&encoder, config, &long, &Context::default())?;
    let memory = Memory::after(None, &hidden, &long.first_tokens(), &all_of(&long, 6))?;
    let starts: Vec<u32> = memory.cu_seqlens.to_vec();
    assert_eq!(starts, [0, 6, 12, 18]);
    let chosen = Memory {
        hidden: memory.hidden.iter().map(|h| h.rows(6, 12)).collect::<Result<_, _>>()?,
        cu_seqlens: Arc::from([0, 0, 6, 12]),
    };
    let context = Context { memory: Some(chosen), ..Context::default() };
    let got = layers(&encoder, config, &batch_of(&[first, second.clone(), second]), &context)?;
    for (layer, got) in got.iter().enumerate() {
        for from in [6, 15] {
            reference.assert_close(&format!("mems.hidden_states.{layer}"), &got.rows(from, 9)?, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn memory_when_segments_follow_keeps_the_last_states_of_each_sequence_that_goes_on() -> Outcome {
    let states = |values: &[f32]| -> Result<Vec<Array>, Error> {
        let states = Array::new(values.to_vec(), (values.len(), 1))?;
        Ok(vec![states, Array::new(vec![0.0; values.len()], (values.len(), 1))?])
    };
    let remember = |sequences: &[(usize, std::ops::Range<u32>)], keep| Remember { sequences: sequences.to_vec(), keep };
    let values = |memory: &Memory| memory.hidden[0].values().map(|values| values.to_vec());
    // One token, then two with the row of a prediction between.
    let first = Memory::after(None, &states(&[1.0, 9.0, 2.0, 3.0])?, &[0, 2], &remember(&[(0, 0..1), (1, 0..2)], 2))?;
    assert_eq!((first.hidden.len(), &*first.cu_seqlens, values(&first)?), (1, &[0, 1, 3][..], vec![1.0, 2.0, 3.0]));
    // The second goes on without its last token, the first has ended.
    let second = Memory::after(Some(&first), &states(&[4.0, 5.0, 6.0])?, &[0, 1], &remember(&[(1, 0..1)], 2))?;
    assert_eq!((&*second.cu_seqlens, values(&second)?), (&[0, 2][..], vec![3.0, 5.0]));
    // A sequence that begins stands behind it.
    let among = second.among(2);
    assert_eq!(*among.cu_seqlens, [0, 2, 2]);
    let third = Memory::after(Some(&among), &states(&[7.0, 8.0])?, &[0, 1], &remember(&[(1, 0..1), (0, 0..1)], 9))?;
    assert_eq!((&*third.cu_seqlens, values(&third)?), (&[0, 1, 4][..], vec![8.0, 3.0, 5.0, 7.0]));
    assert!(Memory::after(Some(&among), &states(&[7.0])?, &[0], &remember(&[], 9)).is_err());
    assert!(Memory::after(None, &states(&[7.0])?, &[0], &remember(&[(1, 0..1)], 9)).is_err());
    Ok(())
}

#[test]
fn xlnet_when_it_looks_back_only_agrees_with_transformers() -> Outcome {
    let reference = Reference::open("xlnet_a")?;
    let mut raw = reference.config.raw.clone();
    raw.insert("attn_type".into(), "uni".into());
    let config = Config::parse(&serde_json::to_string(&raw)?)?;
    let encoder = Transformer::load(&reference.params, &config, Precision::F32)?;
    for (layer, got) in layers(&encoder, &config, &reference.all(), &Context::default())?.iter().enumerate() {
        reference.assert_close(&format!("uni.hidden_states.{layer}"), got, 0.0)?;
    }
    Ok(())
}

#[test]
fn xlnet_when_it_predicts_in_a_random_order_agrees_with_transformers() -> Outcome {
    let reference = Reference::open("xlnet_a")?;
    let config = &reference.config;
    let mut specs = Backbone::specs(config);
    specs.extend(HeadLayers::specs(config, &config.language_head, config.vocab_size));
    let (params, trainable, gradients) = reference.trained(&reference.language, &specs)?;
    let (text, (hidden, positions)) = (reference.part("perm")?, reference.prediction()?);
    let n = positions.len() as u32;
    let labels = reference.tensors["perm.labels"].to_vec1::<i64>()?.into_iter().map(|y| u32::try_from(y).ok());
    let predict = |params: &Parameters, batch: &PackedBatch, prediction: Prediction| -> Result<Var, Error> {
        let context = Context { prediction: Some(prediction), ..Context::default() };
        let encoder = Transformer::load(params, config, Precision::F32)?;
        let rows = context.rows(batch)?.predictions;
        let layers = config.num_hidden_layers;
        let hidden = encoder.forward_within(batch, &context, layers, Mode::inference(), &mut |_, _| Ok(()))?;
        HeadLayers::load(params, config, &config.language_head, config.vocab_size, Precision::F32)?
            .forward(&embedding(&hidden, rows)?, Mode::inference())
    };
    let alone = Prediction {
        positions: positions.clone().into(),
        cu_seqlens: Arc::from([0, n]),
        hidden: hidden.clone().into(),
    };
    let logits = predict(&params, &batch_of(std::slice::from_ref(&text)), alone)?;
    reference.assert_close("perm.logits", logits.array(), 0.0)?;
    let options = CrossEntropy {
        labels: labels.collect(),
        class_weight: None,
        row_weight: None,
        label_smoothing: 0.0,
        normalizer: f64::from(n),
    };
    let loss = cross_entropy(&logits, options)?;
    reference.assert_close("perm.loss", loss.array(), 0.0)?;
    loss.backward()?;
    reference.assert_gradients("perm.grad.", &trainable, &gradients)?;
    // Behind a sequence of which nothing is predicted, it is the same.
    let other = reference.part("mems.second")?;
    let all_seen = vec![false; other.0.len() * other.0.len()];
    let beside = Prediction {
        positions: positions.into(),
        cu_seqlens: Arc::from([0, 0, n]),
        hidden: [all_seen, hidden].concat().into(),
    };
    let together = predict(&reference.language, &batch_of(&[other, text]), beside)?;
    assert!(difference(together.array(), &Tensor::try_from(logits.array().clone())?, 0.0)? <= 1e-6);
    Ok(())
}

#[test]
fn xlnet_when_a_segment_goes_on_learns_as_in_transformers() -> Outcome {
    let reference = Reference::open("xlnet_a")?;
    let config = &reference.config;
    let mut specs = Backbone::specs(config);
    specs.extend(HeadLayers::specs(config, &config.language_head, config.vocab_size));
    let (params, trainable, gradients) = reference.trained(&reference.language, &specs)?;
    let network = LanguageNetwork::load(&params, config, Precision::F32)?;
    let (first, (hidden, positions)) = (reference.part("mems.first")?, reference.prediction()?);
    let (text, other) = (reference.part("perm")?, reference.part("mems.second")?);
    let all_seen = |texts: &[&(Vec<u32>, Vec<u8>)]| vec![false; texts.iter().map(|t| t.0.len() * t.0.len()).sum()];
    let asked = |packed: PackedBatch, prediction, labels, memory, remember| -> Result<LanguageBatch, Error> {
        let context = Context { prediction: Some(prediction), memory, ..Context::default() };
        let rows = Some(context.rows(&packed)?.predictions);
        Ok(LanguageBatch { packed, context, rows, labels, remember })
    };
    // The first segment lies behind another sequence and what is predicted of that.
    let before = asked(
        batch_of(&[other.clone(), first.clone()]),
        Prediction {
            positions: Arc::from([3, 8]),
            cu_seqlens: Arc::from([0, 2, 2]),
            hidden: all_seen(&[&other, &first]).into(),
        },
        vec![Some(1), Some(2)],
        None,
        Some(Remember { sequences: vec![(1, 0..first.0.len() as u32)], keep: 100 }),
    )?;
    let memory = network.loss(before, 1.0, Mode::inference())?.memory.ok_or("nothing is remembered")?;
    let n = positions.len();
    let labels = reference.tensors["perm.labels"].to_vec1::<i64>()?.into_iter().map(|y| u32::try_from(y).ok());
    let after = asked(
        batch_of(&[text, other.clone()]),
        Prediction {
            positions: positions.into(),
            cu_seqlens: Arc::from([0, n as u32, n as u32]),
            hidden: [hidden, all_seen(&[&other])].concat().into(),
        },
        labels.collect(),
        Some(memory.among(2)),
        None,
    )?;
    let LanguageLoss { loss, memory, .. } = network.loss(after, n as f64, Mode::inference())?;
    assert!(memory.is_none());
    reference.assert_close("perm_mems.loss", loss.array(), 0.0)?;
    loss.backward()?;
    reference.assert_gradients("perm_mems.grad.", &trainable, &gradients)
}

#[test]
fn other_families_when_given_memory_refuse_it() -> Outcome {
    let reference = Reference::open("gpt2_a")?;
    let encoder = Transformer::load(&reference.params, &reference.config, Precision::F32)?;
    let memory = Memory { hidden: Vec::new(), cu_seqlens: vec![0; reference.texts.len() + 1].into() };
    let context = Context { memory: Some(memory), ..Context::default() };
    let got = encoder.forward_within(&reference.all(), &context, 1, Mode::inference(), &mut |_, _| Ok(()));
    let message = got.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("xlnet"), "{message}");
    Ok(())
}
