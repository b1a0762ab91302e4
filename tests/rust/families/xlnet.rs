//! What XLNet alone has: memory of the segment before, attention in one direction, and two streams.

use std::sync::Arc;

use candle_core::Tensor;
use warmstart::autograd::Value;
use warmstart::backbone::{Backbone, Config, Context, Memory, Mode, Parameters, Prediction, Transformer};
use warmstart::batch::PackedBatch;
use warmstart::error::Error;
use warmstart::head::Head;
use warmstart::kernels::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::kernels::embedding::embedding;
use warmstart::product::Precision;
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

/// Every hidden state of the tokens, from 0 on.
fn layers(
    encoder: &Transformer,
    config: &Config,
    batch: &PackedBatch,
    context: &Context,
) -> Result<Vec<Tensor>, Error> {
    let (tokens, mut all) = (context.rows(batch)?.tokens, Vec::new());
    encoder.forward_within(batch, context, config.num_hidden_layers, Mode::inference(), &mut |_, hidden| {
        all.push(embedding(hidden, tokens.clone())?.tensor().clone());
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
    let memory = Memory::after(None, &hidden, &before.cu_seqlens, None)?;
    let context = Context { memory: Some(memory.clone()), ..Context::default() };
    for (layer, got) in layers(&encoder, config, &batch_of(std::slice::from_ref(&second)), &context)?.iter().enumerate()
    {
        reference.assert_close(&format!("mems.hidden_states.{layer}"), got, 0.0)?;
    }
    // Beside a sequence that remembers nothing and one that remembers more, it is the same.
    let long = batch_of(&[second.clone(), first.clone(), first.clone()]);
    let hidden = layers(&encoder, config, &long, &Context::default())?;
    let memory = Memory::after(None, &hidden, &long.cu_seqlens, Some(6))?;
    let starts: Vec<u32> = memory.cu_seqlens.to_vec();
    assert_eq!(starts, [0, 6, 12, 18]);
    let chosen = Memory {
        hidden: memory.hidden.iter().map(|h| h.narrow(0, 6, 12)).collect::<Result<_, _>>()?,
        cu_seqlens: Arc::from([0, 0, 6, 12]),
    };
    let context = Context { memory: Some(chosen), ..Context::default() };
    let got = layers(&encoder, config, &batch_of(&[first, second.clone(), second]), &context)?;
    for (layer, got) in got.iter().enumerate() {
        for from in [6, 15] {
            reference.assert_close(&format!("mems.hidden_states.{layer}"), &got.narrow(0, from, 9)?, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn memory_when_segments_follow_keeps_the_last_states_of_each_sequence() -> Outcome {
    let states = |values: &[f32]| Tensor::from_slice(values, (values.len(), 1), &candle_core::Device::Cpu);
    let first = Memory::after(None, &[states(&[1.0, 2.0, 3.0])?, states(&[0.0; 3])?], &[0, 1, 3], Some(2))?;
    assert_eq!((first.hidden.len(), &*first.cu_seqlens), (1, &[0, 1, 3][..]));
    let second = Memory::after(Some(&first), &[states(&[4.0, 5.0])?, states(&[0.0; 2])?], &[0, 2, 2], Some(2))?;
    assert_eq!(second.hidden[0].flatten_all()?.to_vec1::<f32>()?, [4.0, 5.0, 2.0, 3.0]);
    assert_eq!(*second.cu_seqlens, [0, 2, 4]);
    let third = Memory::after(Some(&first), &[states(&[4.0, 5.0])?, states(&[0.0; 2])?], &[0, 1, 2], None)?;
    assert_eq!(third.hidden[0].flatten_all()?.to_vec1::<f32>()?, [1.0, 4.0, 2.0, 3.0, 5.0]);
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
    specs.extend(Head::specs(config, &config.language, config.vocab_size));
    let (params, trainable, gradients) = reference.trained(&reference.language, &specs)?;
    let (text, (hidden, positions)) = (reference.part("perm")?, reference.prediction()?);
    let n = positions.len() as u32;
    let labels = reference.tensors["perm.labels"].to_vec1::<i64>()?.into_iter().map(|y| u32::try_from(y).ok());
    let predict = |params: &Parameters, batch: &PackedBatch, prediction: Prediction| -> Result<Value, Error> {
        let context = Context { prediction: Some(prediction), ..Context::default() };
        let encoder = Transformer::load(params, config, Precision::F32)?;
        let rows = context.rows(batch)?.predictions;
        let layers = config.num_hidden_layers;
        let hidden = encoder.forward_within(batch, &context, layers, Mode::inference(), &mut |_, _| Ok(()))?;
        Head::load(params, config, &config.language, config.vocab_size, Precision::F32)?
            .forward(&embedding(&hidden, rows)?, Mode::inference())
    };
    let alone = Prediction {
        positions: positions.clone().into(),
        cu_seqlens: Arc::from([0, n]),
        hidden: hidden.clone().into(),
    };
    let logits = predict(&params, &batch_of(std::slice::from_ref(&text)), alone)?;
    reference.assert_close("perm.logits", logits.tensor(), 0.0)?;
    let options =
        CrossEntropy { labels: labels.collect(), class_weight: None, label_smoothing: 0.0, normalizer: f64::from(n) };
    let loss = cross_entropy(&logits, options)?;
    reference.assert_close("perm.loss", loss.tensor(), 0.0)?;
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
    assert!(difference(together.tensor(), logits.tensor(), 0.0)? <= 1e-6);
    Ok(())
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
