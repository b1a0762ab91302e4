//! The defining effect of every strategy on an encoder, two decoders and XLNet: after one step of `fit` the parameters that
//! it trains have moved as torch's recorded gradients say, and all others have the bytes that they had.

use std::collections::HashSet;

use warmstart::backbone::{AdapterKind, AdapterTargets, Backbone, Lora, Owner};
use warmstart::head::{Start, TargetKind, Task, TaskModel, Truth};
use warmstart::optim::OptimizerOptions;
use warmstart::text::Encodings;
use warmstart::train::{Dataset, Keep, Method, Strategy, StrategyPart, TaskOptions, TrainingOptions, fit};

use super::{Outcome, Reference, folder, recorded};
use crate::tests::training::terms;
use crate::tests::training_parity::Steps;

/// A family's recorded model, and how its last layer, what is above its layers, and its norms are named.
struct Names {
    model: &'static str,
    first: &'static str,
    last: &'static str,
    above: &'static [&'static str],
    norms: &'static [&'static str],
    has_biases: bool,
}

const FAMILIES: [Names; 4] = [
    Names {
        model: "bert",
        first: "encoder.layer.0.",
        last: "encoder.layer.1.",
        above: &["pooler."],
        norms: &["LayerNorm."],
        has_biases: true,
    },
    Names {
        model: "gpt2_a",
        first: "h.0.",
        last: "h.1.",
        above: &["ln_f."],
        norms: &["ln_1.", "ln_2.", "ln_f."],
        has_biases: true,
    },
    Names {
        model: "llama_a",
        first: "layers.0.",
        last: "layers.1.",
        above: &["norm."],
        norms: &["layernorm.", "norm."],
        has_biases: false,
    },
    Names {
        model: "xlnet_a",
        first: "layer.0.",
        last: "layer.1.",
        above: &[],
        norms: &["layer_norm."],
        has_biases: true,
    },
];

/// Adam's first step is `rate * g / (|g| + epsilon)`; with an epsilon of this size it tells gradients apart.
const EPSILON: f64 = 0.05;
const RATE: f64 = 0.1;

/// One step of all texts at once, without decay and clipping.
fn options(strategy: Strategy, task: Task) -> TaskOptions {
    let base = terms(Method::LinearProbing {}, RATE);
    let optimizer =
        OptimizerOptions { weight_decay: 0.0, epsilon: EPSILON, max_grad_norm: None, ..base.optimizer.clone() };
    let training =
        TrainingOptions { strategy, optimizer, max_steps: Some(1), batch_tokens: 10_000, keep: Keep::Last, ..base };
    TaskOptions { task, training }
}

struct Opened {
    reference: Reference,
    model: TaskModel,
}

impl Opened {
    fn of(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let (reference, place) = (Reference::open(name)?, tempfile::tempdir()?);
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder().join(name).join(file), place.path().join(file))?;
        }
        std::fs::write(place.path().join("vocab.txt"), super::published::VOCAB)?;
        let model = TaskModel::from_pretrained(place.path(), TargetKind::Classes)?.model;
        Ok(Self { reference, model })
    }

    /// The model after one step.
    fn step(&self, strategy: Strategy) -> Result<TaskModel, Box<dyn std::error::Error>> {
        let encodings = Encodings::from_ids(&self.reference.texts);
        let labels = self.reference.tensors["labels"].to_vec1::<i64>()?.into_iter().map(|y| y as u32).collect();
        let dataset = Dataset { encodings: &encodings, truth: Truth::Classes(labels), sample_weight: None };
        let options = options(strategy, self.model.task.clone());
        let start = Start::Head(&self.model.head);
        let outcome = fit(&self.model.backbone, &dataset, None, &options, start, &mut Steps::default())?;
        outcome.stopped.map_or(Ok(()), Err)?;
        Ok(outcome.model.ok_or("no model")?)
    }

    /// The recorded gradient of a parameter.
    fn gradient(&self, name: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let names = [format!("grad.{}{name}", self.reference.config.family.names.prefix), format!("grad.{name}")];
        let found = names.iter().find_map(|name| self.reference.tensors.get(name));
        Ok(recorded(found.ok_or_else(|| format!("no gradient of {name} is recorded"))?)?)
    }

    /// Check the parameters after a step, and return the names of those of the backbone that have moved; `rate` is the
    /// factor on the learning rate of a parameter, of which 0 means that it is frozen.
    fn assert_moved(
        &self,
        what: &str,
        after: &TaskModel,
        rate: impl Fn(&str) -> f64,
    ) -> Result<HashSet<String>, Box<dyn std::error::Error>> {
        let (before, after) = (self.model.params(), after.params());
        let heads: Vec<String> = self.model.head.iter().map(|(name, _)| name.to_string()).collect();
        let mut moved = HashSet::new();
        for (name, array) in before.iter() {
            let (was, is) = (array.values()?.to_vec(), after.get(name)?.values()?.to_vec());
            let factor = rate(name);
            if factor == 0.0 {
                assert!(was.iter().zip(&is).all(|(a, b)| a.to_bits() == b.to_bits()), "{what}: {name} is not frozen");
                continue;
            }
            let gradient = self.gradient(name)?;
            for ((was, is), g) in was.iter().zip(&is).zip(&gradient) {
                let step = RATE * factor * g / (g.abs() + EPSILON);
                let off = (f64::from(*is) - (f64::from(*was) - step)).abs();
                assert!(off <= 2e-5 * RATE + 1e-6, "{what}: {name} went by {}, expected {step}", was - is);
            }
            if !heads.contains(&name.to_string()) && was != is {
                moved.insert(name.to_string());
            }
        }
        Ok(moved)
    }
}

fn lora() -> Lora {
    let (name, kind) = ("default".into(), AdapterKind::Lora);
    Lora { name, kind, rank: 3, alpha: 5.0, targets: None, rslora: false, lora_plus: 1.0 }
}

fn part(method: Method, factor: f64) -> StrategyPart {
    StrategyPart { method, factor }
}

#[test]
fn strategies_after_one_step_have_moved_what_they_train_as_torch_would_and_nothing_else() -> Outcome {
    for names in FAMILIES {
        let opened = Opened::of(names.model)?;
        let model = names.model;
        let heads: Vec<String> = opened.model.head.iter().map(|(name, _)| name.to_string()).collect();
        let in_head = |name: &str| heads.iter().any(|head| head == name);
        let is_used = |name: &str| opened.gradient(name).is_ok();
        let is_in = |all: &[&str], name: &str| all.iter().any(|part| name.contains(part));
        let above = |name: &str| names.above.iter().any(|part| name.starts_with(part));
        let of_norm = |name: &str| is_in(names.norms, name);
        let of_bias = |name: &str| name.ends_with("bias");
        let on = |part: bool| f64::from(u8::from(part));
        type Rate<'a> = Box<dyn Fn(&str) -> f64 + 'a>;
        let full = Method::FullFineTuning { layer_decay: 1.0, head_factor: 0.5, embeddings_factor: 0.25 };
        let in_layers = |name: &str| name.starts_with(names.first) || name.starts_with(names.last);
        let mut cases: Vec<(&str, Vec<StrategyPart>, Rate)> = vec![
            (
                "full",
                vec![part(full, 1.0)],
                Box::new(|name| match () {
                    () if in_head(name) => 0.5,
                    () if in_layers(name) || above(name) => 1.0,
                    () => 0.25,
                }),
            ),
            ("probing", vec![part(Method::LinearProbing {}, 1.0)], Box::new(in_head_rate(&heads))),
            (
                "top layers",
                vec![part(Method::TopLayers { n: 1 }, 1.0)],
                Box::new(|name| on(in_head(name) || name.starts_with(names.last) || above(name))),
            ),
            (
                "layers",
                vec![part(Method::Layers { layers: vec![-2] }, 1.0)],
                Box::new(|name| on(in_head(name) || name.starts_with(names.first))),
            ),
            ("norms", vec![part(Method::NormTuning {}, 1.0)], Box::new(|name| on(in_head(name) || of_norm(name)))),
            (
                "norms and the last layer",
                vec![part(Method::NormTuning {}, 1.0), part(Method::Layers { layers: vec![1] }, 0.5)],
                Box::new(|name| match () {
                    () if in_head(name) || of_norm(name) => 1.0,
                    () => 0.5 * on(name.starts_with(names.last)),
                }),
            ),
        ];
        if names.has_biases {
            let bit_fit = vec![part(Method::BitFit {}, 1.0)];
            cases.push(("biases", bit_fit, Box::new(|name| on(in_head(name) || of_bias(name)))));
        } else {
            let error = opened.step(Method::BitFit {}.into()).err().ok_or("there are no biases")?;
            assert!(error.to_string().contains("BitFit finds nothing to train"), "{error}");
        }
        let mut seen: Vec<(&str, HashSet<String>)> = Vec::new();
        for (what, parts, rate) in cases {
            let after = opened.step(Strategy { parts })?;
            let moved = opened.assert_moved(&format!("{model} {what}"), &after, |name| {
                if is_used(name) { rate(name) } else { 0.0 }
            })?;
            for (other, others) in &seen {
                assert_ne!(others, &moved, "{model}: {what} trains what {other} does");
            }
            seen.push((what, moved));
        }
        // An adapter leaves the backbone as it is.
        let after = opened.step(Method::Lora(lora()).into())?;
        opened.assert_moved(&format!("{model} LoRA"), &after, |name| on(in_head(name)))?;
        let adapter = after.backbone.params.owned(&Owner::Adapter("default".into()));
        let n_maps =
            Backbone::specs(&opened.reference.config).iter().filter(|s| s.map.is_some() && in_layers(&s.name)).count();
        assert_eq!(adapter.iter().count(), 2 * n_maps, "{model}");
        for (name, array) in adapter.iter().filter(|(name, _)| name.contains("lora_B")) {
            assert!(array.values()?.iter().all(|value| *value != 0.0), "{model} {name}");
        }
        let with_biases = Strategy { parts: vec![part(Method::Lora(lora()), 1.0), part(Method::NormTuning {}, 0.5)] };
        let after = opened.step(with_biases)?;
        opened.assert_moved(&format!("{model} LoRA and norms"), &after, |name| match () {
            () if in_head(name) => 1.0,
            () => 0.5 * on(of_norm(name) && is_used(name)),
        })?;
    }
    Ok(())
}

fn in_head_rate(heads: &[String]) -> impl Fn(&str) -> f64 {
    |name| f64::from(u8::from(heads.iter().any(|head| head == name)))
}

#[test]
fn layers_that_are_not_there_or_share_parameters_are_refused() -> Outcome {
    let refused = |model: &str, method: Method, why: &str| -> Outcome {
        let error = Opened::of(model)?.step(method.into()).err().ok_or("was taken")?;
        assert!(error.to_string().contains(why), "{error}");
        Ok(())
    };
    refused("bert", Method::TopLayers { n: 3 }, "TopLayers(n=3): this backbone has 2 layers")?;
    refused("bert", Method::TopLayers { n: 0 }, "LinearProbing() for none")?;
    refused("bert", Method::Layers { layers: vec![0, 2] }, "has no layer 2; its 2 layers are numbered from 0")?;
    refused("bert", Method::Layers { layers: vec![-3] }, "has no layer -3")?;
    refused("bert", Method::Layers { layers: vec![] }, "Layers finds nothing to train")?;
    refused("albert_a", Method::TopLayers { n: 1 }, "shares its parameters")?;
    let all = Lora { targets: Some(AdapterTargets::Names(vec!["query".into()])), ..lora() };
    refused("gpt2_a", Method::Lora(all), "\"query\" is a part of the one map \"attn.c_attn\"")?;
    let none = Lora { targets: Some(AdapterTargets::Names(vec!["gate".into()])), ..lora() };
    refused("bert", Method::Lora(none), "has no linear layer \"gate\"")
}
