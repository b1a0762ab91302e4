//! Every family against tensors recorded with torch and transformers (tests/reference/make_families.py): every layer, the
//! logits of both heads, losses, every gradient by name.

mod electra;
mod peft;
mod published;
mod strategies;
mod xlnet;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use warmstart::array::Array;
use warmstart::autograd::{Gradient, Var};
use warmstart::backbone::{Backbone, Checkpoint, Config, Level, Mode, Owner, Parameters, Spec, Transformer};
use warmstart::batch::PackedBatch;
use warmstart::error::Error;
use warmstart::head::{Classification, HeadLayers, Task};
use warmstart::matmul::Precision;
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::optim::{Gradients, Trainable};
use warmstart::rng::{Key, Stream};
use warmstart::text::Encodings;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Largest difference over largest value: rounding of f32 in another order of summation.
const TOLERANCE: f64 = 1e-5;
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/families")
}

fn names() -> Result<Vec<String>, std::io::Error> {
    let entries = std::fs::read_dir(folder())?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = entries.into_iter().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    assert!(names.len() >= 28, "{names:?}");
    Ok(names)
}

fn with_heads() -> Result<Vec<Reference>, Box<dyn std::error::Error>> {
    let all = names()?.iter().map(|name| Reference::open(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(Reference::has_heads).collect())
}

fn recorded(tensor: &Tensor) -> Result<Vec<f64>, Error> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
}

fn values(array: &Array) -> Result<Vec<f64>, Error> {
    Ok(array.values()?.iter().copied().map(f64::from).collect())
}

/// The largest difference over the largest recorded value, or over `floor` if that is larger.
fn difference(got: &Array, expected: &Tensor, floor: f64) -> Result<f64, Error> {
    assert_eq!(got.elem_count(), expected.elem_count());
    let (got, expected) = (values(got)?, recorded(expected)?);
    let scale = expected.iter().fold(floor, |a, b| a.max(b.abs()));
    Ok(got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale)
}

struct Reference {
    name: String,
    config: Config,
    /// Of backbone and classifier.
    params: Parameters,
    /// Of backbone and language-modelling head, whose names may be the same.
    language: Parameters,
    tensors: HashMap<String, Tensor>,
    texts: Vec<(Vec<u32>, Vec<u8>)>,
}

impl Reference {
    fn open(name: &str) -> Result<Self, Error> {
        let dir = folder().join(name);
        let text = std::fs::read_to_string(dir.join("config.json")).map_err(|e| Error::io(&dir, e))?;
        let config = Config::parse(&text)?;
        let tensors = candle_core::safetensors::load(dir.join("reference.safetensors"), &Device::Cpu)?;
        let mut specs = Backbone::specs(&config);
        specs.extend(Task::only(Classification::new(Level::Texts, 3, false)).specs(&config));
        let (params, _) = Checkpoint::open(&dir)?.load(
            &config.family.names,
            &specs,
            |_| false,
            |_| false,
            Key::new(0, Stream::Init),
        )?;
        let mut language = params.clone();
        if dir.join("lm.safetensors").is_file() {
            for (name, tensor) in candle_core::safetensors::load(dir.join("lm.safetensors"), &Device::Cpu)? {
                language.insert(name, &Owner::head("language"), Array::try_from(&tensor)?);
            }
        }
        let integers = |name: &str| tensors[name].to_vec1::<i64>();
        let (ids, segments, starts) = (integers("ids")?, integers("segments")?, integers("cu_seqlens")?);
        let text = |w: &[i64]| {
            let at = w[0] as usize..w[1] as usize;
            (ids[at.clone()].iter().map(|&i| i as u32).collect(), segments[at].iter().map(|&s| s as u8).collect())
        };
        let texts = starts.windows(2).map(text).collect();
        Ok(Self { name: name.into(), config, params, language, tensors, texts })
    }

    /// False where hidden states alone are recorded.
    fn has_heads(&self) -> bool {
        self.tensors.contains_key("logits")
    }

    fn batch(&self, texts: Vec<usize>) -> PackedBatch {
        PackedBatch::collate(&Encodings::from_ids(&self.texts), texts)
    }

    fn all(&self) -> PackedBatch {
        self.batch((0..self.texts.len()).collect())
    }

    /// The parameters `specs` of `all`, trained, and where their gradients arrive.
    fn trained(&self, all: &Parameters, specs: &[Spec]) -> Result<(Parameters, Vec<Trainable>, Gradients), Error> {
        let mut trainable: Vec<Trainable> = Vec::new();
        for spec in specs {
            if trainable.iter().all(|p| p.name != spec.name) {
                let array = all.get(&spec.name)?;
                assert_eq!(array.dims(), spec.shape, "{} {}", self.name, spec.name);
                let (name, array) = (spec.name.clone(), array.overwritable()?);
                trainable.push(Trainable { name, array, learning_rate: 0.0, weight_decay: 0.0 });
            }
        }
        let (mut params, gradients) = (all.clone(), Gradients::new(&trainable)?);
        for (p, slot) in trainable.iter().zip(gradients.slots()) {
            params.train(&p.name, p.array.clone(), slot)?;
        }
        Ok((params, trainable, gradients))
    }

    fn hidden(&self, params: &Parameters, batch: &PackedBatch, precision: Precision) -> Result<Var, Error> {
        let encoder = Transformer::load(params, &self.config, precision)?;
        encoder.forward(batch, self.config.num_hidden_layers, Mode::inference())
    }

    fn logits(&self, params: &Parameters, batch: &PackedBatch, precision: Precision) -> Result<Var, Error> {
        let options = &self.config.sequence_classifier;
        let pooled = options.pooling[0].apply(&self.hidden(params, batch, precision)?, batch)?;
        HeadLayers::load(params, &self.config, options, 3, Precision::F32)?.forward(&pooled, Mode::inference())
    }

    fn token_logits(&self, params: &Parameters, batch: &PackedBatch) -> Result<Var, Error> {
        let hidden = self.hidden(params, batch, Precision::F32)?;
        HeadLayers::load(params, &self.config, &self.config.language_head, self.config.vocab_size, Precision::F32)?
            .forward(&hidden, Mode::inference())
    }

    /// The next token of each that has one, or the recorded targets.
    fn targets(&self) -> Result<Vec<Option<u32>>, Error> {
        if !self.config.is_causal() {
            let recorded = self.tensors["lm_labels"].to_vec1::<i64>()?;
            return Ok(recorded.into_iter().map(|y| u32::try_from(y).ok()).collect());
        }
        let next =
            |(ids, _): &(Vec<u32>, Vec<u8>)| ids[1..].iter().map(|&id| Some(id)).chain([None]).collect::<Vec<_>>();
        Ok(self.texts.iter().flat_map(next).collect())
    }

    fn assert_close(&self, what: &str, got: &Array, floor: f64) -> Result<(), Error> {
        let expected = self.tensors.get(what).ok_or_else(|| Error::internal(format!("{what} is not recorded")))?;
        let off = difference(got, expected, floor)?;
        assert!(off <= TOLERANCE, "{} {what}: off by {off:e}", self.name);
        Ok(())
    }

    /// Every gradient that is recorded under `prefix` has arrived, and no other that is not zero.
    fn assert_gradients(&self, prefix: &str, trainable: &[Trainable], gradients: &Gradients) -> Outcome {
        let stored = |name: &str| {
            let of_backbone = Backbone::specs(&self.config).iter().any(|spec| spec.name == name);
            format!("{prefix}{}{name}", if of_backbone { self.config.family.names.prefix } else { "" })
        };
        let arrived: Vec<_> = gradients.read(|all| all.iter().map(|g| g.map(Gradient::to_vec)).collect())?;
        let mut compared = 0;
        for (p, gradient) in trainable.iter().zip(arrived) {
            match (self.tensors.contains_key(&stored(&p.name)), gradient) {
                (true, Some(gradient)) => {
                    let n = gradient.len();
                    // Without positions in the scores a shift of all keys changes nothing: the gradient of their bias is zero
                    // but for rounding, which is as large as that of their weight's.
                    let weight = self.tensors.get(&stored(&p.name).replace(".bias", ".weight"));
                    let floor = weight.map_or(Ok(0.0), |g| {
                        Ok::<_, Error>(recorded(g)?.iter().fold(0.0, |a: f64, b| a.max(b.abs())))
                    })?;
                    self.assert_close(&stored(&p.name), &Array::new(gradient, n)?, floor)?;
                    compared += 1;
                }
                // transformers does not train sinusoids.
                (false, Some(_)) if p.name == "embeddings.position_embeddings.weight" => {}
                (recorded, gradient) => {
                    let arrived = gradient.is_some();
                    assert!(!recorded && !arrived, "{} {}: {recorded} {arrived}", self.name, p.name);
                }
            }
        }
        let recorded = self.tensors.keys().filter(|name| name.starts_with(prefix)).count();
        assert_eq!(compared, recorded, "{}", self.name);
        Ok(())
    }
}

#[test]
fn families_when_compared_with_transformers_agree_in_every_layer_and_head() -> Outcome {
    for name in names()? {
        let reference = Reference::open(&name)?;
        let encoder = Transformer::load(&reference.params, &reference.config, Precision::F32)?;
        let mut layers = 0;
        encoder.forward_through(
            &reference.all(),
            reference.config.num_hidden_layers,
            Mode::inference(),
            &mut |layer, hidden| {
                layers += 1;
                reference.assert_close(&format!("hidden_states.{layer}"), hidden.array(), 0.0)
            },
        )?;
        assert!(!reference.tensors.contains_key(&format!("hidden_states.{layers}")), "{name}: {layers} layers");
        if reference.has_heads() {
            let logits = reference.logits(&reference.params, &reference.all(), Precision::F32)?;
            reference.assert_close("logits", logits.array(), 0.0)?;
            let logits = reference.token_logits(&reference.language, &reference.all())?;
            reference.assert_close("lm_logits", logits.array(), 0.0)?;
        }
    }
    Ok(())
}

/// `padding.safetensors` (tests/reference/make_padding.py), transformers 5.24.0; 4.57.6 gives the same.
#[test]
fn padding_ids_when_they_stand_in_a_text_have_no_position() -> Outcome {
    let recorded = candle_core::safetensors::load(folder().with_file_name("padding.safetensors"), &Device::Cpu)?;
    for name in ["roberta_a", "roberta_b", "camembert"] {
        let reference = Reference::open(name)?;
        let ids: Vec<u32> = recorded[&format!("{name}.ids")].to_vec1::<i64>()?.into_iter().map(|i| i as u32).collect();
        // Between texts with and without padding ids: each counts by itself.
        let texts =
            [vec![7, 9], ids.clone(), vec![8; 3], ids[..5].to_vec()].map(|ids| (ids.clone(), vec![0; ids.len()]));
        let batch = PackedBatch::collate(&Encodings::from_ids(&texts), vec![0, 1, 2, 3]);
        let hidden = reference.hidden(&reference.params, &batch, Precision::F32)?;
        let own = hidden.array().rows(2, ids.len())?;
        let worst = difference(&own, &recorded[&format!("{name}.hidden")], 0.0)?;
        assert!(worst <= TOLERANCE, "{name}: off by {worst:e}");
    }
    Ok(())
}

#[test]
fn families_when_trained_as_classifiers_receive_the_gradients_of_torch() -> Outcome {
    for reference in with_heads()? {
        let (params, trainable, gradients) = {
            let mut specs = Backbone::specs(&reference.config);
            specs.extend(Task::only(Classification::new(Level::Texts, 3, false)).specs(&reference.config));
            reference.trained(&reference.params, &specs)?
        };
        let labels = reference.tensors["labels"].to_vec1::<i64>()?.into_iter().map(|y| u32::try_from(y).ok());
        let (labels, n) = (labels.collect(), reference.texts.len() as f64);
        let logits = reference.logits(&params, &reference.all(), Precision::F32)?;
        let options =
            CrossEntropy { labels, class_weight: None, row_weight: None, label_smoothing: 0.0, normalizer: n };
        let loss = cross_entropy(&logits, options)?;
        reference.assert_close("loss", loss.array(), 0.0)?;
        loss.backward()?;
        reference.assert_gradients("grad.", &trainable, &gradients)?;
    }
    Ok(())
}

#[test]
fn families_when_trained_as_language_models_receive_the_gradients_of_torch() -> Outcome {
    for reference in with_heads()? {
        let config = &reference.config;
        let mut specs = Transformer::specs(config);
        specs.extend(HeadLayers::specs(config, &config.language_head, config.vocab_size));
        let (params, trainable, gradients) = reference.trained(&reference.language, &specs)?;
        let labels = reference.targets()?;
        let normalizer = labels.iter().flatten().count() as f64;
        let logits = reference.token_logits(&params, &reference.all())?;
        let options = CrossEntropy { labels, class_weight: None, row_weight: None, label_smoothing: 0.0, normalizer };
        let loss = cross_entropy(&logits, options)?;
        reference.assert_close("lm_loss", loss.array(), 0.0)?;
        loss.backward()?;
        reference.assert_gradients("lm_grad.", &trainable, &gradients)?;
    }
    Ok(())
}

#[test]
fn families_when_texts_are_alone_or_in_another_order_give_the_same_logits() -> Outcome {
    for reference in with_heads()? {
        let name = &reference.name;
        let rows = |texts: Vec<usize>| -> Result<Vec<Vec<f32>>, Error> {
            let batch = reference.batch(texts);
            let logits = reference.logits(&reference.params, &batch, Precision::F32)?;
            let (_, columns) = logits.array().dims2()?;
            Ok(logits.array().values()?.chunks(columns).map(<[f32]>::to_vec).collect())
        };
        let together = rows((0..5).collect())?;
        let mixed = rows(vec![3, 0, 4, 2, 1])?;
        for (text, expected) in together.iter().enumerate() {
            let alone = &rows(vec![text])?[0];
            for other in [alone, &mixed[[1, 4, 3, 0, 2][text]]] {
                let off = expected.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 1e-5, "{name} text {text}: {off:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn families_when_products_are_in_bf16_stay_close() -> Outcome {
    for name in names()? {
        let reference = Reference::open(&name)?;
        for precision in [Precision::Bf16, Precision::Int8] {
            let hidden = reference.hidden(&reference.params, &reference.all(), precision)?;
            let last = format!("hidden_states.{}", reference.config.num_hidden_layers);
            let off = difference(hidden.array(), &reference.tensors[&last], 0.0)?;
            assert!(off < 0.08, "{name} {precision:?}: {off:e}");
        }
    }
    Ok(())
}
