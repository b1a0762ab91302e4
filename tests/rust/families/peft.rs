//! Adapters as peft 0.21.2 saves them (tests/reference/make_adapters.py): logits, every gradient and the merged weight are
//! those recorded, and what is written reads back the same.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use serde_json::{Value, json};
use warmstart::autograd::Gradient;
use warmstart::backbone::{Backbone, Mode, Owner, Parameters, Transformer};
use warmstart::batch::PackedBatch;
use warmstart::error::Error;
use warmstart::head::{Published, TargetKind, Targets, TaskModel, TaskNetwork, Truth};
use warmstart::matmul::Precision;
use warmstart::optim::{Gradients, Trainable};
use warmstart::text::Encodings;

use super::{Outcome, Reference, TOLERANCE, folder, recorded};

const CASES: [&str; 8] =
    ["bert_lora", "bert_patterns", "bert_dora", "bert_miss", "bert_miss_odd", "gpt2_lora", "gpt2_dora", "llama_lora"];

struct Case {
    name: &'static str,
    reference: Reference,
    base: Backbone,
    recorded: HashMap<String, Tensor>,
    opened: Published,
}

fn adapters(name: &str) -> std::path::PathBuf {
    folder().with_file_name("adapters").join(name)
}

fn base_of(name: &str) -> Result<(Reference, Backbone), Box<dyn std::error::Error>> {
    let config: Value = serde_json::from_slice(&std::fs::read(adapters(name).join("adapter_config.json"))?)?;
    let base = config["base_model_name_or_path"].as_str().ok_or("no base")?.replace("families/", "");
    let (reference, place) = (Reference::open(&base)?, tempfile::tempdir()?);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder().join(&base).join(file), place.path().join(file))?;
    }
    std::fs::write(place.path().join("vocab.txt"), super::published::VOCAB)?;
    Ok((reference, Backbone::from_pretrained(place.path())?))
}

impl Case {
    fn open(name: &'static str) -> Result<Self, Box<dyn std::error::Error>> {
        let (reference, base) = base_of(name)?;
        let recorded = safetensors::load(adapters(name).join("reference.safetensors"), &Device::Cpu)?;
        let opened = TaskModel::from_adapter(&base, &adapters(name), TargetKind::Classes, false)?.0;
        Ok(Self { name, reference, base, recorded, opened })
    }

    fn logits(&self, model: &TaskModel) -> Result<Vec<f32>, Error> {
        model.outputs(&Encodings::from_ids(&self.reference.texts), usize::MAX, Precision::F32, &mut |_| Ok(()))
    }

    fn assert_close(&self, what: &str, got: &[f32]) -> Outcome {
        let expected = recorded(self.recorded.get(what).ok_or_else(|| format!("{what} is not recorded"))?)?;
        assert_eq!(got.len(), expected.len(), "{} {what}", self.name);
        let scale = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let off = got.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / scale;
        assert!(off <= TOLERANCE, "{} {what}: off by {off:e}", self.name);
        Ok(())
    }
}

/// The gradients of the loss of a model for these parameters.
fn gradients(case: &Case, names: &[String]) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
    let (model, all) = (&case.opened.model, case.opened.model.params());
    let mut learning = all.clone();
    let trainable = |name: &String| {
        let array = all.get(name)?.overwritable()?;
        Ok(Trainable { name: name.clone(), array, learning_rate: 0.0, weight_decay: 0.0 })
    };
    let trainable: Vec<Trainable> = names.iter().map(trainable).collect::<Result<_, Error>>()?;
    let gradients = Gradients::new(&trainable)?;
    for (p, slot) in trainable.iter().zip(gradients.slots()) {
        learning.train(&p.name, p.array.clone(), slot)?;
    }
    let config = &model.backbone.config;
    let encoder = Transformer::load(&learning, config, Precision::F32)?;
    let network = TaskNetwork::new(encoder.into(), &learning, config, &model.task)?;
    let texts = Encodings::from_ids(&case.reference.texts);
    let batch = PackedBatch::collate(&texts, (0..case.reference.texts.len()).collect());
    let pooled = network.pooled(&batch, Mode::inference())?;
    let labels: Vec<u32> =
        case.reference.tensors["labels"].to_vec1::<i64>()?.into_iter().map(|label| label as u32).collect();
    let n = labels.len() as f64;
    let targets = Targets { truth: Truth::Classes(labels), weights: None };
    let loss = network.loss(&pooled, &targets, n, Mode::inference())?;
    case.assert_close("loss", &[loss.scalar()?])?;
    loss.backward()?;
    let all = gradients.read(|all| all.iter().map(|g| g.map(Gradient::to_vec)).collect::<Option<Vec<_>>>())?;
    Ok(all.ok_or("a gradient is missing")?)
}

/// The key in PEFT's file of a parameter of ours.
fn key(config: &warmstart::backbone::Config, name: &str, of_backbone: bool) -> String {
    let plain = name.replace(".default.weight", if name.contains("magnitude") { "" } else { ".weight" });
    let plain = plain.replace(".miss_block.default", ".miss_block");
    format!("grad.base_model.model.{}{plain}", if of_backbone { config.family.names.prefix } else { "" })
}

#[test]
fn adapters_of_peft_give_its_logits_gradients_and_merged_weights() -> Outcome {
    for name in CASES {
        let case = Case::open(name)?;
        let model = &case.opened.model;
        case.assert_close("logits", &case.logits(model)?)?;
        // The base is as it was, and the adapter is another than nothing.
        assert_eq!(case.opened.labels.names, ["negative", "neutral", "positive"]);
        let plain = TaskModel { backbone: case.base.clone(), ..model.clone() };
        assert_ne!(case.logits(&plain)?, case.logits(model)?, "{name}");

        let of_adapter = model.backbone.params.owned(&Owner::Adapter("default".into()));
        let names: Vec<String> = of_adapter.iter().chain(model.head.iter()).map(|(name, _)| name.to_string()).collect();
        let found = gradients(&case, &names)?;
        let config = &model.backbone.config;
        for (name, gradient) in names.iter().zip(&found) {
            case.assert_close(&key(config, name, of_adapter.get(name).is_ok()), gradient)?;
        }
        let n_recorded = case.recorded.keys().filter(|name| name.starts_with("grad.")).count();
        assert_eq!(names.len(), n_recorded, "{name}");

        let merged = model.merged()?;
        assert!(merged.backbone.params.adapters().is_empty());
        case.assert_close("logits", &case.logits(&merged)?)?;
        let stored =
            case.recorded.keys().find(|name| name.starts_with("merged.")).ok_or("nothing merged is recorded")?;
        let weight = stored.trim_start_matches("merged.");
        let weight = weight.strip_prefix(config.family.names.prefix).unwrap_or(weight);
        case.assert_close(stored, &merged.backbone.params.get(weight)?.values()?)?;
        // What was merged is another copy: without the adapter, the weights are the base's.
        for (name, array) in case.base.params.iter() {
            assert_eq!(*array.values()?, *model.backbone.params.base().get(name)?.values()?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn adapters_that_are_written_read_back_as_the_same_bytes() -> Outcome {
    for name in CASES {
        let case = Case::open(name)?;
        let (model, place) = (&case.opened.model, tempfile::tempdir()?);
        let labels = ["no", "so so", "yes"].map(String::from);
        model.save_adapter(place.path(), &labels, false, Some(7))?;
        let (again, max_length) = TaskModel::from_adapter(&case.base, place.path(), TargetKind::Classes, false)?;
        assert_eq!(max_length, Some(7));
        assert_eq!(again.labels.names, labels);
        assert_eq!(case.logits(model)?, case.logits(&again.model)?, "{name}");
        let tensors = |dir: &Path| safetensors::load(dir.join("adapter_model.safetensors"), &Device::Cpu);
        let (ours, theirs) = (tensors(place.path())?, tensors(&adapters(name))?);
        let sorted = |all: &HashMap<String, Tensor>| {
            let mut names: Vec<String> = all.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{name}");
        for (key, tensor) in &theirs {
            // The rows of the head are sorted by label in both.
            assert_eq!(recorded(tensor)?, recorded(&ours[key])?, "{name} {key}");
        }
    }
    Ok(())
}

/// A copy of an adapter's directory whose configuration has these fields.
fn changed(name: &str, fields: Value) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(adapters(name).join(file), place.path().join(file))?;
    }
    let path = place.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let (Some(config), Value::Object(fields)) = (config.as_object_mut(), fields) else {
        return Err("no object".into());
    };
    config.extend(fields);
    std::fs::write(&path, serde_json::to_string(&config)?)?;
    Ok(place)
}

#[test]
fn adapters_that_do_not_fit_or_mean_something_else_are_refused() -> Outcome {
    let (_, bert) = base_of("bert_lora")?;
    let (_, llama) = base_of("llama_lora")?;
    let read = |backbone: &Backbone, dir: &Path| {
        let error = TaskModel::from_adapter(backbone, dir, TargetKind::Classes, false).err();
        error.map(|error| error.to_string()).ok_or("was read")
    };
    for (fields, why) in [
        (json!({"peft_type": "PREFIX_TUNING"}), "peft_type is \"PREFIX_TUNING\"; adapters of LORA"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "pissa changed the weights of the base model"),
        (json!({"init_lora_weights": "olora"}), "olora changed the weights of the base model"),
        (json!({"lora_bias": true}), "lora_bias is true, which is not known here"),
        (json!({"layer_replication": [[0, 2]]}), "layer_replication is [[0,2]]"),
        (json!({"use_dora": true}), "lora_magnitude_vector: missing"),
    ] {
        let error = read(&bert, changed("bert_lora", fields)?.path())?;
        assert!(error.contains(why), "{error}");
    }
    let mini = read(&bert, changed("bert_miss", json!({"init_weights": "mini"}))?.path())?;
    assert!(mini.contains("only the plain form of MISS"), "{mini}");
    // An adapter of another family, and one that brings biases of its maps.
    let error = read(&bert, &adapters("llama_lora"))?;
    assert!(error.contains("families/llama_a") && error.contains("(bert) has no linear layer"), "{error}");
    let error = read(&bert, &adapters("bert_bias"))?;
    assert!(error.contains("value.base_layer.bias: not known here"), "{error}");
    let missing = read(&llama, tempfile::tempdir()?.path())?;
    assert!(missing.contains("adapter_config.json"), "{missing}");

    // Written by us, it names the backbone that it was made on.
    let case = Case::open("bert_lora")?;
    let place = tempfile::tempdir()?;
    case.opened.model.save_adapter(place.path(), &["a", "b", "c"].map(String::from), false, None)?;
    let mut params = case.base.params.clone();
    let name = "encoder.layer.0.output.dense.bias";
    let values: Vec<f32> = params.get(name)?.values()?.iter().map(|value| value + 1e-3).collect();
    params.replace(name, warmstart::array::Array::new(values, 21)?)?;
    let other = case.base.with_params(params, (*case.base.report).clone());
    let error = read(&other, place.path())?;
    assert!(error.contains("made on another backbone") && error.contains("allow_other_base=True"), "{error}");
    assert!(TaskModel::from_adapter(&other, place.path(), TargetKind::Classes, true).is_ok());
    let error =
        TaskModel::from_adapter(&case.base, place.path(), TargetKind::Numbers, false).err().ok_or("was read")?;
    assert!(error.to_string().contains("open it with TextClassifier.from_pretrained"), "{error}");
    let twice = case.opened.model.backbone.with_adapter(place.path(), "default", false).err().ok_or("was put on")?;
    assert!(twice.to_string().contains("is there already"), "{twice}");
    Ok(())
}

#[test]
fn two_adapters_on_one_backbone_add_up() -> Outcome {
    let (reference, base) = base_of("bert_lora")?;
    let both = base.with_adapter(&adapters("bert_lora"), "one", false)?;
    let both = both.with_adapter(&adapters("bert_patterns"), "two", false)?;
    assert_eq!(both.params.adapters().len(), 2);
    let hidden = |params: &Parameters| -> Result<Vec<f32>, Error> {
        Ok(reference.hidden(params, &reference.all(), Precision::F32)?.array().values()?.to_vec())
    };
    let (together, merged) = (hidden(&both.params)?, hidden(&both.merged()?.params)?);
    let off = together.iter().zip(&merged).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-4, "off by {off}");
    let one = hidden(&base.with_adapter(&adapters("bert_lora"), "one", false)?.params)?;
    assert!(one.iter().zip(&together).any(|(a, b)| (a - b).abs() > 0.1));
    // A DoRA cannot be one of two on a map.
    let error = both.with_adapter(&adapters("bert_dora"), "three", false).err().ok_or("was put on")?;
    assert!(error.to_string().contains("DoRA is the only one of its linear layer"), "{error}");
    Ok(())
}
