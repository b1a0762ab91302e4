//! Against tensors recorded with torch and transformers (tests/reference/make_reference.py): every layer, logits, loss, every
//! gradient by name, ten training losses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::backbone::{Backbone, Checkpoint, Config, Level, Mode, Parameters, Pooling, Transformer};
use warmstart::batch::PackedBatch;
use warmstart::error::Error;
use warmstart::head::{Classification, HeadLayers, Task, TaskModel};
use warmstart::matmul::Precision;
use warmstart::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::optim::{AdamW, Gradients, Schedule, ScheduleKind, Trainable};
use warmstart::rng::{Key, Stream};
use warmstart::text::Encodings;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Largest difference over largest value: rounding of f32 in another order of summation.
const TOLERANCE: f64 = 1e-5;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

fn recorded(tensor: &Tensor) -> Result<Vec<f64>, Error> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
}

fn values(array: &Array) -> Result<Vec<f64>, Error> {
    Ok(array.values()?.iter().copied().map(f64::from).collect())
}

/// Compare, with the tolerance relative to the largest recorded value, at least to `floor`.
fn assert_close(what: &str, got: &Array, expected: &Tensor, floor: f64) -> Result<(), Error> {
    assert_eq!(got.elem_count(), expected.elem_count(), "{what}: number of values");
    let (got, expected) = (values(got)?, recorded(expected)?);
    let scale = expected.iter().fold(floor, |a, b| a.max(b.abs()));
    let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= TOLERANCE * scale, "{what}: off by {worst:e}, values up to {scale:e}");
    Ok(())
}

/// The gradient of each parameter.
fn arrived(gradients: &Gradients) -> Vec<Option<Array>> {
    let array = |values: Vec<f32>| Array::new(values.clone(), values.len()).ok();
    gradients.read(|all| all.iter().map(|g| g.and_then(|g| array(g.to_vec()))).collect()).unwrap()
}

struct Reference {
    config: Config,
    params: Parameters,
    tensors: HashMap<String, Tensor>,
    batch: PackedBatch,
    labels: Vec<Option<u32>>,
    training: PathBuf,
}

impl Reference {
    fn open(name: &str) -> Result<Self, Error> {
        let dir = directory(name);
        let text = std::fs::read_to_string(dir.join("config.json")).map_err(|e| Error::io(&dir, e))?;
        let config = Config::parse(&text)?;
        let tensors = candle_core::safetensors::load(dir.join("reference.safetensors"), &Device::Cpu)?;
        let integers = |name: &str| tensors[name].to_vec1::<i64>();
        let labels: Vec<Option<u32>> = integers("labels")?.into_iter().map(|y| u32::try_from(y).ok()).collect();
        let mut specs = Backbone::specs(&config);
        let n_outputs = tensors["logits"].dim(1)?;
        specs.extend(Task::only(Classification::new(Level::Texts, n_outputs, false)).specs(&config));
        let (params, report) = Checkpoint::open(&dir)?.load(
            &config.family.names,
            &specs,
            |_| false,
            |_| false,
            Key::new(0, Stream::Init),
        )?;
        assert_eq!(report.loaded, specs.len());
        let (ids, segments, starts) = (integers("ids")?, integers("segments")?, integers("cu_seqlens")?);
        let texts: Vec<(Vec<u32>, Vec<u8>)> = starts
            .windows(2)
            .map(|w| {
                let at = w[0] as usize..w[1] as usize;
                (ids[at.clone()].iter().map(|&i| i as u32).collect(), segments[at].iter().map(|&s| s as u8).collect())
            })
            .collect();
        let batch = PackedBatch::collate(&Encodings::from_ids(&texts), (0..texts.len()).collect());
        Ok(Self { config, params, tensors, batch, labels, training: dir })
    }

    fn trained(&self) -> Result<(Parameters, Vec<Trainable>, Gradients), Error> {
        let mut trainable = Vec::new();
        for (name, array) in self.params.iter() {
            let decays = !name.ends_with("bias") && !name.contains("LayerNorm");
            let weight_decay = if decays { 0.01 } else { 0.0 };
            trainable.push(Trainable {
                name: name.into(),
                array: array.overwritable()?,
                learning_rate: 1e-2,
                weight_decay,
            });
        }
        let (mut params, gradients) = (self.params.clone(), Gradients::new(&trainable)?);
        for (p, slot) in trainable.iter().zip(gradients.slots()) {
            params.train(&p.name, p.array.clone(), slot)?;
        }
        Ok((params, trainable, gradients))
    }

    fn logits(&self, params: &Parameters, precision: Precision) -> Result<Var, Error> {
        let mode = Mode::inference();
        let hidden = Transformer::load(params, &self.config, precision)?.forward(
            &self.batch,
            self.config.num_hidden_layers,
            mode,
        )?;
        let head = HeadLayers::load(
            params,
            &self.config,
            &self.config.sequence_classifier,
            self.tensors["logits"].dim(1)?,
            Precision::F32,
        )?;
        head.forward(&Pooling::Cls.apply(&hidden, &self.batch)?, mode)
    }

    fn loss(&self, logits: &Var) -> Result<Var, Error> {
        // bert_b is recorded with smoothing and class weights, bert_a without.
        let (class_weight, label_smoothing) = match logits.array().dims2()?.1 {
            4 => (Some(vec![1.0, 2.0, 0.5, 1.5]), 0.1),
            _ => (None, 0.0),
        };
        let weight = |&y: &u32| class_weight.as_ref().map_or(1.0, |w| f64::from(w[y as usize]));
        let normalizer = self.labels.iter().flatten().map(weight).sum();
        cross_entropy(
            logits,
            CrossEntropy { labels: self.labels.clone(), class_weight, row_weight: None, label_smoothing, normalizer },
        )
    }

    /// The name under which transformers stores a parameter.
    fn stored(name: &str) -> String {
        if name.starts_with("classifier") { name.to_string() } else { format!("bert.{name}") }
    }
}

#[test]
fn forward_when_compared_with_transformers_agrees_in_every_layer() -> Outcome {
    for name in ["bert_a", "bert_b"] {
        let reference = Reference::open(name)?;
        let bert = Transformer::load(&reference.params, &reference.config, Precision::F32)?;
        for layer in 0..=reference.config.num_hidden_layers {
            let hidden = bert.forward(&reference.batch, layer, Mode::inference())?;
            assert_close(
                &format!("{name} layer {layer}"),
                hidden.array(),
                &reference.tensors[&format!("hidden_states.{layer}")],
                0.0,
            )?;
        }
        let logits = reference.logits(&reference.params, Precision::F32)?;
        assert_close("logits", logits.array(), &reference.tensors["logits"], 0.0)?;
        assert_close("loss", reference.loss(&logits)?.array(), &reference.tensors["loss"], 0.0)?;
    }
    Ok(())
}

#[test]
fn backward_when_compared_with_torch_agrees_in_every_gradient() -> Outcome {
    for name in ["bert_a", "bert_b"] {
        let reference = Reference::open(name)?;
        let (params, trainable, gradients) = reference.trained()?;
        reference.loss(&reference.logits(&params, Precision::F32)?)?.backward()?;
        for (p, got) in trainable.iter().zip(arrived(&gradients)) {
            let got = got.ok_or(format!("{}: no gradient", p.name))?;
            let expected = &reference.tensors[&format!("grad.{}", Reference::stored(&p.name))];
            // The gradient of a key's bias is zero in exact arithmetic (softmax does not see a shift), so it has no scale
            // of its own: it is held against that of the query's bias.
            let floor = match p.name.strip_suffix("key.bias") {
                Some(layer) => recorded(&reference.tensors[&format!("grad.bert.{layer}query.bias")])?
                    .iter()
                    .fold(0.0, |a: f64, b| a.max(b.abs())),
                None => 0.0,
            };
            assert_close(&format!("{name} {}", p.name), &got, expected, floor)?;
        }
    }
    Ok(())
}

/// The length of a tensor, and its distance from another.
fn length_and_distance(got: &Array, expected: &Tensor) -> Result<(f64, f64), Error> {
    let (got, expected) = (values(got)?, recorded(expected)?);
    assert_eq!(got.len(), expected.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    Ok((squares(&mut expected.iter().copied()), squares(&mut got.iter().zip(&expected).map(|(a, b)| a - b))))
}

/// Rounding to bf16 takes 2^-8 of a value at most, 0.0016 of it in the root mean square; both operands of a product make
/// 0.0023. Errors of products add up like random ones: a hidden state has passed up to 18 of them (six in each of three
/// layers), 0.0023 sqrt(18) = 0.01; a gradient that many forward and twice as many backward, 0.0023 sqrt(54) = 0.017. That
/// is what the worst gradient of a weight shows (0.0172). The gradient of a bias is a sum over tokens that partly cancel,
/// of which the errors do not: 0.0265 at worst. A distance of 0.045 is a cosine of 0.999 at least.
#[test]
fn bf16_when_compared_with_f32_stays_near_in_every_layer_and_gradient() -> Outcome {
    let mut farthest = (0f64, 0f64);
    for name in ["bert_a", "bert_b"] {
        let reference = Reference::open(name)?;
        let bert = Transformer::load(&reference.params, &reference.config, Precision::Bf16)?;
        for layer in 0..=reference.config.num_hidden_layers {
            let hidden = bert.forward(&reference.batch, layer, Mode::inference())?;
            let expected = &reference.tensors[&format!("hidden_states.{layer}")];
            let (length, distance) = length_and_distance(hidden.array(), expected)?;
            assert!(distance <= 0.01 * length, "{name} layer {layer}: {distance} of {length}");
            farthest.0 = farthest.0.max(distance / length);
        }
        let (params, trainable, gradients) = reference.trained()?;
        reference.loss(&reference.logits(&params, Precision::Bf16)?)?.backward()?;
        for (p, got) in trainable.iter().zip(arrived(&gradients)) {
            let got = got.ok_or(format!("{}: no gradient", p.name))?;
            let recorded = |name: &str| &reference.tensors[&format!("grad.{}", Reference::stored(name))];
            let (mut length, distance) = length_and_distance(&got, recorded(&p.name))?;
            // As above: zero in exact arithmetic, so it is held against the query's.
            if let Some(layer) = p.name.strip_suffix("key.bias") {
                let query = recorded(&format!("{layer}query.bias"));
                length = length_and_distance(&Array::try_from(query)?, query)?.0;
            }
            assert!(distance <= 0.045 * length, "{name} {}: {distance} of {length}", p.name);
            farthest.1 = farthest.1.max(distance / length);
        }
    }
    // Else nothing was rounded.
    assert!(farthest.0 > 1e-3 && farthest.1 > 1e-3, "{farthest:?}");
    Ok(())
}

#[test]
fn multi_label_loss_when_compared_with_torch_agrees_with_its_gradients() -> Outcome {
    for name in ["bert_a", "bert_b"] {
        let reference = Reference::open(name)?;
        let (params, trainable, gradients) = reference.trained()?;
        let logits = reference.logits(&params, Precision::F32)?;
        let targets: Vec<f32> = reference.tensors["multi_targets"].flatten_all()?.to_vec1()?;
        let normalizer = targets.len() as f64;
        let loss = binary_cross_entropy(
            &logits,
            BinaryCrossEntropy { targets, class_weight: None, row_weight: None, normalizer },
        )?;
        assert_close("multi-label loss", loss.array(), &reference.tensors["multi_loss"], 0.0)?;
        loss.backward()?;
        let arrived = arrived(&gradients);
        for part in ["classifier.weight", "classifier.bias"] {
            let at = trainable.iter().position(|p| p.name == part).ok_or("no classifier")?;
            let got = arrived[at].as_ref().ok_or("no gradient")?;
            assert_close(part, got, &reference.tensors[&format!("multi_grad.{part}")], 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn training_when_compared_with_torch_has_the_same_ten_losses_norms_and_rates() -> Outcome {
    for name in ["bert_a", "bert_b"] {
        for (file, kind) in [("training.json", ScheduleKind::Linear), ("training_cosine.json", ScheduleKind::Cosine)] {
            let reference = Reference::open(name)?;
            let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(reference.training.join(file))?)?;
            let series = |key: &str| -> Vec<f64> {
                recorded[key]
                    .as_array()
                    .map(|a| a.iter().filter_map(serde_json::Value::as_f64).collect())
                    .unwrap_or_default()
            };
            let (losses, norms, rates) = (series("losses"), series("grad_norms"), series("learning_rates"));
            assert_eq!((losses.len(), norms.len(), rates.len()), (10, 10, 10));
            let (params, trainable, gradients) = reference.trained()?;
            let mut optimiser = AdamW::new(&trainable, 0.9, 0.999, 1e-8)?;
            let schedule = Schedule { kind, warmup_steps: 3, total_steps: 12 };
            for step in 0..10 {
                let what = format!("{name} {file} step {step}");
                let loss = reference.loss(&reference.logits(&params, Precision::F32)?)?;
                let value = f64::from(loss.scalar()?);
                gradients.clear();
                loss.backward()?;
                let norm = gradients.norm()?;
                let close = |got: f64, expected: f64| (got - expected).abs() <= TOLERANCE * expected.abs();
                assert!(close(value, losses[step]), "{what}: loss {value}, recorded {}", losses[step]);
                assert!(close(norm, norms[step]), "{what}: norm {norm}, recorded {}", norms[step]);
                let rate = 1e-2 * schedule.factor(step);
                assert!((rate - rates[step]).abs() < 1e-12, "{what}: rate {rate}, recorded {}", rates[step]);
                optimiser.step(&trainable, &gradients, (1.0 / (norm + 1e-6)).min(1.0), schedule.factor(step))?;
            }
        }
    }
    Ok(())
}

#[test]
fn company_when_it_changes_leaves_a_sequence_as_it_was() -> Outcome {
    let reference = Reference::open("bert_a")?;
    let bert = Transformer::load(&reference.params, &reference.config, Precision::F32)?;
    let texts: Vec<(Vec<u32>, Vec<u8>)> = reference
        .batch
        .cu_seqlens
        .windows(2)
        .map(|w| {
            let at = w[0] as usize..w[1] as usize;
            (reference.batch.ids[at.clone()].to_vec(), reference.batch.segments[at].iter().map(|&s| s as u8).collect())
        })
        .collect();
    let encodings = Encodings::from_ids(&texts);
    let rows = |order: Vec<usize>| -> Result<Vec<Vec<f32>>, Error> {
        let batch = PackedBatch::collate(&encodings, order.clone());
        let hidden = bert.forward(&batch, 3, Mode::inference())?;
        let mut parts = vec![Vec::new(); texts.len()];
        for (&text, w) in order.iter().zip(batch.cu_seqlens.windows(2)) {
            parts[text] = hidden.array().rows(w[0] as usize, (w[1] - w[0]) as usize)?.values()?.to_vec();
        }
        Ok(parts)
    };
    let together = rows((0..texts.len()).collect())?;
    let reversed = rows((0..texts.len()).rev().collect())?;
    for text in 0..texts.len() {
        let alone = &rows(vec![text])?[text];
        for other in [&together[text], &reversed[text]] {
            let worst = alone.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6, "text {text}: {worst}");
        }
    }
    Ok(())
}

#[test]
fn checkpoints_when_stored_otherwise_hold_the_same_values() -> Outcome {
    let reference = Reference::open("bert_b")?;
    for name in ["bert_b_bin", "bert_b_sharded", "bert_b_legacy", "bert_b_bin_f16"] {
        let dir = directory(name);
        let ignorable = |name: &str| {
            name.starts_with("cls.") || name.starts_with("classifier.") || name == "embeddings.position_ids"
        };
        let (params, report) = Checkpoint::open(&dir)?.load(
            &reference.config.family.names,
            &Backbone::specs(&reference.config),
            |_| false,
            ignorable,
            Key::new(0, Stream::Init),
        )?;
        for (parameter, tensor) in params.iter() {
            let expected = reference.params.get(parameter)?;
            let expected = if name.ends_with("f16") {
                let expected = Tensor::try_from(expected.clone())?;
                Array::try_from(&expected.to_dtype(DType::F16)?.to_dtype(DType::F32)?)?
            } else {
                expected.clone()
            };
            assert_eq!(values(tensor)?, values(&expected)?, "{name} {parameter}");
        }
        assert_eq!(report.converted.is_empty(), name != "bert_b_bin_f16", "{name}");
    }
    Ok(())
}

#[test]
fn classifier_specs_when_listed_have_no_name_twice() -> Outcome {
    let dir = directory("bert_b_legacy");
    let backbone = Backbone::from_pretrained(&dir)?;
    let mut names: Vec<String> = TaskModel::specs(&backbone, &Task::only(Classification::new(Level::Texts, 4, false)))
        .into_iter()
        .map(|s| s.name)
        .collect();
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
    assert!(backbone.report.ignored.iter().any(|name| name.starts_with("cls.predictions")));
    Ok(())
}

#[test]
fn config_when_it_asks_for_the_impossible_is_refused() -> Outcome {
    let text = std::fs::read_to_string(directory("bert_a").join("config.json"))?;
    for (field, value, expected) in [
        ("num_hidden_layers", serde_json::json!(1 << 24), "asks for 16777216 layers; expected 1 to 256"),
        ("vocab_size", serde_json::json!(0), "asks for 0 tokens in the vocabulary"),
        ("intermediate_size", serde_json::json!(-1), "intermediate_size is -1; expected a whole number"),
        ("num_attention_heads", serde_json::json!(5), "not a multiple of the number of attention heads, 5"),
        ("hidden_act", serde_json::json!("mish"), "mish"),
        ("hidden_dropout_prob", serde_json::json!(1.0), "hidden_dropout_prob is 1"),
        ("position_embedding_type", serde_json::json!("relative_key"), "position_embedding_type"),
        (
            "model_type",
            serde_json::json!("t5"),
            "model_type is \"t5\"; supported: \"bert\", \"roberta\", \"xlm-roberta\"",
        ),
        // Of another family: refused, not passed over.
        ("rotary_pct", serde_json::json!(0.25), "has fields that a model of this type does not: rotary_pct (0.25)"),
        ("is_decoder", serde_json::json!(true), "is_decoder is true; supported: false"),
    ] {
        let mut json: serde_json::Value = serde_json::from_str(&text)?;
        json[field] = value;
        let error = Config::parse(&json.to_string()).err().ok_or(field)?;
        assert!(matches!(error, Error::Value(_)) && error.to_string().contains(expected), "{field}: {error}");
    }
    let mut json: serde_json::Value = serde_json::from_str(&text)?;
    (json["vocab_size"], json["hidden_size"]) = (serde_json::json!(1 << 24), serde_json::json!(3 << 14));
    let error = Config::parse(&json.to_string()).err().ok_or("824 billion parameters were accepted")?;
    assert!(error.to_string().contains("parameters"), "{error}");
    Ok(())
}
