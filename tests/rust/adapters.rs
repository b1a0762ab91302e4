//! Low-rank adapters: at first they change nothing, merged they are the map itself, and they alone learn.

use std::path::Path;
use std::sync::Arc;

use warmstart::array::Array;
use warmstart::autograd::Gradient;
use warmstart::backbone::{
    AdapterKind, AdapterTargets, Backbone, Level, Lora, LowRank, Mode, Owner, Parameters, Transformer,
};
use warmstart::batch::PackedBatch;
use warmstart::error::{Error, Result};
use warmstart::head::{Classification, Start, Task, TaskModel, Truth};
use warmstart::matmul::Precision;
use warmstart::optim::{Gradients, Trainable};
use warmstart::rng::{Key, Stream};
use warmstart::text::Encodings;
use warmstart::train::{Dataset, Method, Plan, Strategy, TaskOptions, TrainingOptions, fit};

use crate::tests::ops::weighted_sum;
use crate::tests::training::{FULL, terms};
use crate::tests::training_parity::{Steps, causal_model};

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

fn reference(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(path)
}

fn lora(targets: &[&str]) -> Lora {
    let targets = Some(AdapterTargets::Names(targets.iter().map(ToString::to_string).collect()));
    Lora {
        name: "default".into(),
        kind: AdapterKind::Lora,
        rank: 3,
        alpha: 5.0,
        targets,
        rslora: false,
        lora_plus: 1.0,
    }
}

fn adapter(backbone: &Backbone, targets: &[&str]) -> Result<Arc<LowRank>> {
    Ok(Arc::new(lora(targets).on(&backbone.config, &Backbone::specs(&backbone.config))?))
}

/// A backbone with its adapters, of which `B` is not zero if asked for.
fn adapted(backbone: &Backbone, adapter: &Arc<LowRank>, moved: bool) -> Result<Parameters> {
    let mut params = backbone.params.clone();
    params.adapt(adapter, &Backbone::specs(&backbone.config), Key::new(1, Stream::Init))?;
    if moved {
        for spec in adapter.specs(&Backbone::specs(&backbone.config))? {
            let values = Key::new(2, Stream::Init).named(&spec.name).normal(spec.shape.iter().product(), 0.2);
            params.replace(&spec.name, Array::new(values, spec.shape.as_slice())?)?;
        }
    }
    Ok(params)
}

/// `W + alpha / r * B A` in the place of each adapted weight, computed in f64; where it is stored `[inputs, outputs]`,
/// transposed.
fn merged(backbone: &Backbone, params: &Parameters, adapter: &LowRank, input_major: bool) -> Result<Parameters> {
    let mut all = backbone.params.clone();
    for spec in adapter.specs(&Backbone::specs(&backbone.config))?.iter().filter(|spec| spec.name.contains("lora_A")) {
        let (a, b) = (params.get(&spec.name)?, params.get(&spec.name.replace("lora_A", "lora_B"))?);
        let ((r, k), n) = (a.dims2()?, b.dims2()?.0);
        let (a, b) = (a.values()?, b.values()?);
        let module = spec.name.split(".lora_A").next().unwrap_or_default();
        let name = if all.get(module).is_ok() { module.to_string() } else { format!("{module}.weight") };
        let weight = all.get(&name)?;
        let mut values = weight.values()?.to_vec();
        for i in 0..n {
            for j in 0..k {
                let product: f64 = (0..r).map(|l| f64::from(b[i * r + l]) * f64::from(a[l * k + j])).sum();
                let at = if input_major { j * n + i } else { i * k + j };
                values[at] += (adapter.maps[module].alpha / r as f64 * product) as f32;
            }
        }
        let shape = weight.shape().clone();
        all.replace(&name, Array::new(values, shape)?)?;
    }
    Ok(all)
}

fn batch(vocabulary: u32) -> PackedBatch {
    let text = |i: u32| {
        let ids: Vec<u32> = (0..5 + 3 * i).map(|j| (7 * i + 11 * j) % vocabulary).collect();
        let segments = vec![0; ids.len()];
        (ids, segments)
    };
    PackedBatch::collate(&Encodings::from_ids(&[text(0), text(1), text(2)]), vec![0, 1, 2])
}

fn hidden(backbone: &Backbone, params: &Parameters, precision: Precision) -> Result<Vec<f32>> {
    let encoder = Transformer::load(params, &backbone.config, precision)?;
    let batch = batch(backbone.config.vocab_size as u32);
    let hidden = encoder.forward(&batch, backbone.config.num_hidden_layers, Mode::inference())?;
    Ok(hidden.array().values()?.to_vec())
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Directories with a tokenizer, their maps before an activation, a residual and alone, and whether weights are stored
/// `[inputs, outputs]`.
const CASES: [(&str, &[&str], bool); 3] = [
    ("bert_b_legacy", &["query", "attention.output.dense", "intermediate.dense", "output.dense"], false),
    ("bert_b_legacy", &["value"], false),
    // Queries, keys and values are parts of one map.
    ("gpt2_a", &["c_attn", "mlp.c_proj"], true),
];

fn open(name: &str) -> std::result::Result<Backbone, Box<dyn std::error::Error>> {
    if name == "gpt2_a" {
        return Ok(causal_model(tempfile::tempdir()?.path())?.backbone);
    }
    Ok(Backbone::from_pretrained(&reference(name))?)
}

#[test]
fn adapters_when_new_change_no_byte_and_when_moved_are_the_merged_map() -> Checked {
    for (name, targets, input_major) in CASES {
        let backbone = open(name)?;
        let adapter = adapter(&backbone, targets)?;
        for precision in [Precision::F32, Precision::Bf16] {
            let base = hidden(&backbone, &backbone.params, precision)?;
            let new = hidden(&backbone, &adapted(&backbone, &adapter, false)?, precision)?;
            // Without an adapter the sum with a residual is rounded once less.
            let tolerance = if precision == Precision::F32 { 1e-5 } else { 0.05 };
            assert!(worst(&base, &new) <= tolerance, "{name} {precision:?}: {}", worst(&base, &new));
            let params = adapted(&backbone, &adapter, true)?;
            let moved = hidden(&backbone, &params, precision)?;
            let merged = hidden(&backbone, &merged(&backbone, &params, &adapter, input_major)?, precision)?;
            assert!(worst(&moved, &merged) <= tolerance, "{name} {precision:?}: {}", worst(&moved, &merged));
            assert!(worst(&moved, &base) > 0.1, "{name}: the adapter makes no difference");
        }
    }
    Ok(())
}

/// Gradients of `names` of a fixed combination of hidden states.
fn gradients(backbone: &Backbone, params: &Parameters, names: &[String]) -> Result<Vec<Vec<f32>>> {
    let trainable = |name: &String| {
        let array = params.get(name)?.overwritable()?;
        Ok(Trainable { name: name.clone(), array, learning_rate: 0.0, weight_decay: 0.0 })
    };
    let trainable: Vec<Trainable> = names.iter().map(trainable).collect::<Result<_>>()?;
    let (mut learning, gradients) = (params.clone(), Gradients::new(&trainable)?);
    for (p, slot) in trainable.iter().zip(gradients.slots()) {
        learning.train(&p.name, p.array.clone(), slot)?;
    }
    let encoder = Transformer::load(&learning, &backbone.config, Precision::F32)?;
    let batch = batch(backbone.config.vocab_size as u32);
    let hidden = encoder.forward(&batch, backbone.config.num_hidden_layers, Mode::inference())?;
    let weights: Vec<f32> = (0..hidden.array().elem_count()).map(|i| (i % 5) as f32 - 1.7).collect();
    weighted_sum(&[(&hidden, &weights)])?.backward()?;
    let all = gradients.read(|all| all.iter().map(|g| g.map(Gradient::to_vec)).collect::<Option<Vec<_>>>())?;
    all.ok_or_else(|| Error::Value("a gradient is missing".into()))
}

#[test]
fn gradients_of_adapters_are_those_that_the_merged_weight_gives() -> Checked {
    for (name, targets, input_major) in CASES {
        let backbone = open(name)?;
        let adapter = adapter(&backbone, targets)?;
        let params = adapted(&backbone, &adapter, true)?;
        let merged = merged(&backbone, &params, &adapter, input_major)?;
        let of_a: Vec<String> = adapter
            .specs(&Backbone::specs(&backbone.config))?
            .into_iter()
            .map(|s| s.name)
            .filter(|n| n.contains("lora_A"))
            .collect();
        let of_b: Vec<String> = of_a.iter().map(|name| name.replace("lora_A", "lora_B")).collect();
        let weights: Vec<String> =
            of_a.iter().map(|n| format!("{}.weight", n.split(".lora_A").next().unwrap_or_default())).collect();
        let whole = gradients(&backbone, &merged, &weights)?;
        let (da, db) = (gradients(&backbone, &params, &of_a)?, gradients(&backbone, &params, &of_b)?);
        for (i, dw) in whole.iter().enumerate() {
            let (a, b) = (params.get(&of_a[i])?, params.get(&of_b[i])?);
            let ((r, k), n, scale) = (a.dims2()?, b.dims2()?.0, 5.0 / 3.0);
            let (a, b, at) = (a.values()?, b.values()?, |i: usize, j: usize| {
                f64::from(dw[if input_major { j * n + i } else { i * k + j }])
            });
            // dA = scale B^T dW, dB = scale dW A^T.
            let mut expected = Vec::new();
            for l in 0..r {
                expected
                    .extend((0..k).map(|j| scale * (0..n).map(|i| f64::from(b[i * r + l]) * at(i, j)).sum::<f64>()));
            }
            for i in 0..n {
                expected
                    .extend((0..r).map(|l| scale * (0..k).map(|j| f64::from(a[l * k + j]) * at(i, j)).sum::<f64>()));
            }
            let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let got = da[i].iter().chain(&db[i]);
            let off = got.zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(largest > 1e-3 && off <= 2e-5 * largest, "{name} {}: off by {off:e} of {largest:e}", of_a[i]);
        }
    }
    Ok(())
}

fn task() -> Task {
    Task::only(Classification::new(Level::Texts, 3, false))
}

fn options(lora: Lora) -> TaskOptions {
    let strategy = Strategy::from(Method::Lora(lora));
    TaskOptions {
        task: task(),
        training: TrainingOptions { strategy, epochs: 30, batch_tokens: 60, ..terms(FULL, 2e-2) },
    }
}

#[test]
fn fit_when_adapters_learn_leaves_the_backbone_and_predicts_as_when_merged() -> Checked {
    let backbone = Backbone::from_pretrained(&reference("bert_b_legacy"))?;
    let adapter = adapter(&backbone, &["query", "value"])?;
    let texts: Vec<(Vec<u32>, Vec<u8>)> =
        (0..12u32).map(|i| (vec![2, 20 + 8 * (i % 3), 21 + i % 5, 3], vec![0; 4])).collect();
    let encodings = Encodings::from_ids(&texts);
    let truth = Truth::Classes((0..12).map(|i| i % 3).collect());
    let dataset = Dataset { encodings: &encodings, truth, sample_weight: None };
    let (options, mut steps) = (options(lora(&["query", "value"])), Steps::default());
    let outcome = fit(&backbone, &dataset, None, &options, Start::New, &mut steps)?;
    assert!(outcome.stopped.is_none());
    let last = steps.0.last().map(|record| record.loss);
    assert!(last < Some(0.1), "{last:?}");
    let model = outcome.model.ok_or("no model")?;
    let n_adapter: usize = adapter
        .specs(&Backbone::specs(&backbone.config))?
        .iter()
        .map(|spec| spec.shape.iter().product::<usize>())
        .sum();
    let n_head = model.head.count();
    assert_eq!(outcome.facts.trainable_parameters, n_adapter + n_head);
    for (name, before) in backbone.params.iter() {
        assert_eq!(*before.values()?, *model.backbone.params.get(name)?.values()?, "{name}");
    }
    let added = model.backbone.params.owned(&Owner::Adapter("default".into()));
    assert_eq!(added.count(), n_adapter);
    assert!(added.iter().all(|(_, array)| array.values().is_ok_and(|values| values.iter().any(|x| *x != 0.0))));

    let logits = |model: &TaskModel| model.outputs(&encodings, 1000, Precision::F32, &mut |_| Ok(()));
    let merged = merged(&backbone, &model.params(), &adapter, false)?;
    let merged = TaskModel::new(&backbone, &merged.with(&model.head), task());
    let predicted = logits(&model)?;
    assert!(worst(&predicted, &logits(&merged)?) < 1e-4);
    for (i, row) in predicted.chunks(3).enumerate() {
        assert!(row.iter().all(|z| *z <= row[i % 3]), "text {i}: {row:?}");
    }
    let again =
        fit(&model.backbone, &dataset, None, &options, Start::New, &mut Steps::default()).err().ok_or("went on")?;
    assert!(again.to_string().contains("adapter \"default\" cannot be trained further"), "{again}");
    // Saved whole, the adapter is merged.
    let directory = tempfile::tempdir()?;
    let labels = ["a", "b", "c"].map(String::from);
    model.save(&directory.path().join("model"), &labels, "{}", u64::MAX)?;
    let (read_back, _) = TaskModel::load(&directory.path().join("model"))?;
    assert!(read_back.backbone.params.adapters().is_empty());
    assert!(worst(&predicted, &logits(&read_back)?) < 1e-4);
    Ok(())
}

#[test]
fn adapter_when_it_fits_no_map_is_refused() -> Checked {
    let backbone = Backbone::from_pretrained(&reference("bert_b_legacy"))?;
    for targets in [&["querry"][..], &["word_embeddings"], &["uery"]] {
        let error = adapter(&backbone, targets).err().ok_or("was taken")?;
        assert!(
            error.to_string().contains(targets[0]) && error.to_string().contains("attention.self.query"),
            "{error}"
        );
    }
    let specs = Backbone::specs(&backbone.config);
    assert!(adapter(&backbone, &[]).is_err());
    let (query, mut twice) = (adapter(&backbone, &["query"])?, backbone.params.clone());
    let key = Key::new(1, Stream::Init);
    twice.adapt(&query, &specs, key)?;
    assert!(twice.adapt(&query, &specs, key).is_err());
    for rank in [0, 1000] {
        let error = Lora { rank, ..lora(&["query"]) }.on(&backbone.config, &specs).err().ok_or("was taken")?;
        assert!(error.to_string().contains(&format!("rank={rank}")), "{error}");
    }
    // Parts of a layer are these maps and no others.
    for (part, ends) in [("down", &["output.dense"][..]), ("feed_forward", &["intermediate.dense", "output.dense"])] {
        let found = adapter(&backbone, &[part])?;
        let expected = |map: &String| ends.iter().any(|end| map.ends_with(end)) && !map.contains("attention");
        assert!(found.maps.len() == 2 * ends.len() && found.maps.keys().all(expected), "{part}: {:?}", found.maps);
    }
    assert_eq!(adapter(&backbone, &["attention"])?.maps.len(), 8);
    let options = options(lora(&["query"]));
    let plan = Plan::of_task((&options.training.strategy, &options.training.optimizer), &backbone, &options.task)?;
    let learns = |name: &str| plan.rows.iter().any(|row| row.name == name && row.trainable);
    assert!(learns("encoder.layer.1.attention.self.query.lora_A.default.weight") && learns("classifier.weight"));
    assert!(!learns("encoder.layer.1.attention.self.query.weight"));
    Ok(())
}
