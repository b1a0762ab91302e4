//! Classifiers, regressors and taggers as transformers saves them, opened with their heads: logits and labels are those recorded.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use warmstart::head::{TargetKind, TaskModel};
use warmstart::matmul::Precision;
use warmstart::text::Encodings;

use super::{Outcome, Reference, TOLERANCE, folder, with_heads};

// The recorded directories have no tokenizer; their ids are not made by one.
pub(super) const VOCAB: &str = "[PAD]\n<pad>\n<s>\n</s>\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n<mask>\na\n";
const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

/// The model in `dir`, opened with its head, gives the recorded outputs of these encodings.
fn assert_outputs(name: &str, dir: &Path, kind: TargetKind, encodings: &Encodings, recorded: &Tensor) -> Outcome {
    std::fs::write(dir.join("vocab.txt"), VOCAB)?;
    let published = TaskModel::from_pretrained(dir, kind)?;
    assert_eq!(published.labels.names, LABELS, "{name}");
    let logits = published.model.outputs(encodings, usize::MAX, Precision::F32, &mut |_| Ok(()))?;
    let expected = super::recorded(recorded)?;
    let scale = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let off = logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / scale;
    assert!(logits.len() == expected.len() && off <= TOLERANCE, "{name}: off by {off:e}");
    Ok(())
}

#[test]
fn published_classifiers_of_every_family_give_the_logits_of_transformers() -> Outcome {
    for reference in with_heads()? {
        let Reference { name, texts, tensors, .. } = &reference;
        let place = tempfile::tempdir()?;
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder().join(name).join(file), place.path().join(file))?;
        }
        let encodings = Encodings::from_ids(texts);
        assert_outputs(name, place.path(), TargetKind::Classes, &encodings, &tensors["logits"])?;
        let problems = [("multi_label_classification", TargetKind::Classes), ("regression", TargetKind::Numbers)];
        for (problem, kind) in problems {
            let file = place.path().join("config.json");
            let mut fields: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&std::fs::read_to_string(&file)?)?;
            fields.insert("problem_type".into(), problem.into());
            std::fs::write(file, serde_json::to_string(&fields)?)?;
            assert_outputs(name, place.path(), kind, &encodings, &tensors["logits"])?;
        }
        let error = TaskModel::from_pretrained(place.path(), TargetKind::Tags).err().ok_or("a tagger was read")?;
        assert!(error.to_string().contains("open it with TextClassifier.from_pretrained"), "{name}: {error}");
    }
    Ok(())
}

#[test]
fn published_taggers_of_every_family_give_the_logits_of_transformers() -> Outcome {
    for reference in with_heads()? {
        let Reference { name, texts, config, .. } = &reference;
        let from = folder().join(name);
        let place = tempfile::tempdir()?;
        let classifier = std::fs::read_to_string(from.join("config.json"))?;
        std::fs::write(
            place.path().join("config.json"),
            classifier.replace("ForSequenceClassification", "ForTokenClassification"),
        )?;
        let mut tagger = safetensors::load(from.join("tagger.safetensors"), &Device::Cpu)?;
        let recorded = tagger.remove("tag_logits").ok_or("no outputs are recorded")?;
        let classifier = safetensors::load(from.join("model.safetensors"), &Device::Cpu)?;
        let prefix = config.family.names.prefix;
        let backbone =
            classifier.into_iter().filter(|(tensor, _)| tensor.starts_with(prefix) && !tensor.contains(".pooler."));
        let all: HashMap<String, Tensor> = tagger.into_iter().chain(backbone).collect();
        safetensors::save(&all, place.path().join("model.safetensors"))?;
        // Every token is the first of a word.
        let words: Vec<Vec<u32>> = texts.iter().map(|(ids, _)| (0..ids.len() as u32).collect()).collect();
        let encodings = Encodings::from_ids(texts).with_words(&words);
        assert_outputs(name, place.path(), TargetKind::Tags, &encodings, &recorded)?;
        let error =
            TaskModel::from_pretrained(place.path(), TargetKind::Classes).err().ok_or("a classifier was read")?;
        assert!(error.to_string().contains("open it with TokenClassifier.from_pretrained"), "{name}: {error}");
    }
    Ok(())
}
