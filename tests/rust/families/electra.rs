//! What ELECTRA alone has: a detector of replaced tokens.

use std::sync::Arc;

use warmstart::array::Array;
use warmstart::backbone::{Backbone, Mode};
use warmstart::head::{LanguageBatch, ReplacedDetector};
use warmstart::matmul::Precision;
use warmstart::rng::{Key, Stream};

use super::{Outcome, Reference, folder};

#[test]
fn electra_when_it_detects_replaced_tokens_agrees_with_transformers() -> Outcome {
    for name in ["electra_a", "electra_b"] {
        let reference = Reference::open(name)?;
        let dir = tempfile::tempdir()?;
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder().join(name).join(file), dir.path().join(file))?;
        }
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from);
        let words = (special.len()..reference.config.vocab_size).map(|i| format!("w{i}"));
        let vocabulary: Vec<String> = special.iter().cloned().chain(words).collect();
        std::fs::write(dir.path().join("vocab.txt"), vocabulary.join("\n"))?;
        let backbone = Backbone::from_pretrained(dir.path())?;
        let recorded = candle_core::safetensors::load(
            folder().join(name).join("detector.safetensors"),
            &candle_core::Device::Cpu,
        )?;
        let mut detector = ReplacedDetector::new(&backbone, &backbone, 0)?;
        for (name, tensor) in recorded {
            detector.head.replace(&name, Array::try_from(&tensor)?)?;
        }
        let specs: Vec<_> = detector.specs();
        let (params, trainable, gradients) = reference.trained(&detector.params(), &specs)?;
        let network = detector.network(&params, Precision::F32)?;

        let integers = |name: &str| reference.tensors[name].to_vec1::<i64>();
        let replaced: Vec<bool> = integers("detect.replaced")?.iter().map(|&y| y == 1).collect();
        let (original, new) = (integers("ids")?, integers("detect.ids")?);
        // All that is replaced was hidden, and some that the generator drew again as it was.
        let asked: Vec<u32> = (0..original.len()).filter(|&i| replaced[i] || i % 5 == 0).map(|i| i as u32).collect();
        let of = |ids: &[i64]| asked.iter().map(|&i| ids[i as usize] as u32).collect::<Vec<u32>>();
        let (labels, drawn) = (of(&original), of(&new));
        let mut packed = reference.all();
        let mut masked = packed.ids.to_vec();
        for &i in &asked {
            masked[i as usize] = 4;
        }
        packed.ids = masked.into();
        let batch = LanguageBatch {
            packed,
            context: warmstart::backbone::Context::default(),
            rows: Some(Arc::from(asked)),
            labels: labels.into_iter().map(Some).collect(),
            remember: None,
        };
        let draw = |_: &[f32], _: usize, _: Key| Ok(drawn.clone());
        let key = Key::new(0, Stream::Sampling);
        let [_, loss] = network.losses(batch, (1.0, 1.0), Mode::inference(), key, draw)?;
        reference.assert_close("detect.loss", loss.array(), 0.0)?;
        loss.backward()?;
        reference.assert_gradients("detect.grad.", &trainable, &gradients)?;
    }
    Ok(())
}
