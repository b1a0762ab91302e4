//! The detector of replaced tokens, saved: it reads back to the same losses, and `tests/reference/check_saved.py` compares
//! them with those of transformers, if the variable `WARMSTART_SAVED` names a folder for it.

use std::path::{Path, PathBuf};

use warmstart::autograd::Var;
use warmstart::backbone::{Backbone, Config, Context, Mode};
use warmstart::batch::PackedBatch;
use warmstart::head::{LanguageBatch, ReplacedDetector};
use warmstart::matmul::Precision;
use warmstart::rng::{Key, Stream};
use warmstart::text::{Encodings, SideFiles};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A discriminator and a smaller generator, every parameter away from zero.
fn detector() -> Outcome<ReplacedDetector> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/bert_b_legacy");
    let backbone = |heads: usize, seed| -> Outcome<Backbone> {
        let config = serde_json::json!({
            "model_type": "electra", "vocab_size": 53, "embedding_size": 12, "hidden_size": 8 * heads,
            "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": 20,
            "max_position_embeddings": 40, "initializer_range": 0.3,
        });
        Ok(Backbone::from_config(Config::parse(&config.to_string())?, SideFiles::read(&dir)?, seed)?)
    };
    let detector = ReplacedDetector::new(&backbone(3, 1)?, &backbone(1, 2)?, 3)?;
    let mut moved = detector.params();
    for (name, array) in detector.params().iter() {
        let noise = Key::new(4, Stream::Init).named(name).normal(array.elem_count(), 0.2);
        let values = array.values()?.iter().zip(noise).map(|(value, noise)| value + noise).collect();
        moved.replace(name, warmstart::array::Array::new(values, array.dims())?)?;
    }
    Ok(detector.with_params(&moved)?)
}

/// Texts, and which of their tokens are replaced.
fn cases() -> Vec<(Vec<u32>, Vec<bool>)> {
    let text = |n: u32| (0..n).map(|i| 5 + (7 * i + n) % 48).collect::<Vec<u32>>();
    let every = |n: u32, step: u32| (0..n).map(|i| i % step == 1).collect::<Vec<bool>>();
    [(9, 3), (9, 100), (2, 2), (33, 4)].map(|(n, step)| (text(n), every(n, step))).into()
}

/// The mean loss over the tokens `ids`, of which some have replaced others.
fn loss(detector: &ReplacedDetector, ids: &[u32], replaced: &[bool]) -> Outcome<f32> {
    let network = detector.network(&detector.params(), Precision::F32)?;
    let packed = PackedBatch::collate(&Encodings::from_ids(&[(ids.to_vec(), vec![0; ids.len()])]), vec![0]);
    let before = ids.iter().zip(replaced).map(|(&id, &replaced)| Some(if replaced { (id + 1) % 53 } else { id }));
    let batch = LanguageBatch {
        packed,
        context: Context::default(),
        rows: Some((0..ids.len() as u32).collect()),
        labels: before.collect(),
        remember: None,
    };
    let [_, loss]: [Var; 2] =
        network
            .losses(batch, (1.0, 1.0), Mode::inference(), Key::new(0, Stream::Sampling), |_, _, _| Ok(ids.to_vec()))?;
    Ok(loss.scalar()?)
}

#[test]
fn detector_when_it_is_saved_reads_back_to_the_same_losses() -> Outcome {
    let (detector, scratch) = (detector()?, tempfile::tempdir()?);
    let kept = std::env::var_os("WARMSTART_SAVED").map(|folder| PathBuf::from(folder).join("electra/detector"));
    let dir = kept.clone().unwrap_or_else(|| scratch.path().join("detector"));
    detector.save(&dir, "{}", u64::MAX)?;
    let (read, _) = ReplacedDetector::load(&dir)?;
    let mut losses = Vec::new();
    for (ids, replaced) in cases() {
        let said = loss(&detector, &ids, &replaced)?;
        assert_eq!(loss(&read, &ids, &replaced)?.to_bits(), said.to_bits());
        losses.push((ids, replaced.iter().map(|&replaced| f32::from(u8::from(replaced))).collect::<Vec<_>>(), said));
    }
    // The same text with other tokens replaced.
    assert!((losses[0].2 - losses[1].2).abs() > 0.1, "{losses:?}");
    if kept.is_some() {
        std::fs::write(dir.join("expected.json"), serde_json::json!({ "losses": losses }).to_string())?;
    }
    Ok(())
}
