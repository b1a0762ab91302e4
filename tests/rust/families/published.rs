//! Classifiers as transformers saves them, opened with their heads: logits and labels are those recorded.

use warmstart::head::{TargetKind, TaskModel};
use warmstart::matmul::Precision;
use warmstart::text::Encodings;

use super::{Outcome, Reference, TOLERANCE, folder, with_heads};

#[test]
fn published_classifiers_of_every_family_give_the_logits_of_transformers() -> Outcome {
    // The recorded directories have no tokenizer; these ids are not made by one.
    let vocab = "[PAD]\n<pad>\n<s>\n</s>\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n<mask>\na\n";
    for reference in with_heads()? {
        let Reference { name, .. } = &reference;
        let place = tempfile::tempdir()?;
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder().join(name).join(file), place.path().join(file))?;
        }
        std::fs::write(place.path().join("vocab.txt"), vocab)?;
        let published = TaskModel::from_pretrained(place.path(), TargetKind::Classes)?;
        assert_eq!(published.labels.names, ["negative", "neutral", "positive"], "{name}");
        let encodings = Encodings::from_ids(&reference.texts);
        let logits = published.model.outputs(&encodings, usize::MAX, Precision::F32, &mut |_| Ok(()))?;
        let expected = super::recorded(&reference.tensors["logits"])?;
        let scale = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let off = logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / scale;
        assert!(logits.len() == expected.len() && off <= TOLERANCE, "{name}: off by {off:e}");
        let error = TaskModel::from_pretrained(place.path(), TargetKind::Tags).err().ok_or("a tagger was read")?;
        assert!(error.to_string().contains("open it with TextClassifier.from_pretrained"), "{name}: {error}");
    }
    Ok(())
}
