//! Whole runs of `fit` and `pretrain` against ten steps of torch on the same batches (tests/reference/make_training.py): the
//! loss, the norm of the gradient and the learning rate of each step, and every weight after the last. torch knows of no
//! accumulation here: its loss of a step is the mean over all that the step asks.
//!
//! In `tests/reference/training/<run>/`: `settings.json`, written by hand; `batches.json`, what the run sees, written by the
//! ignored test below; `torch.json` and `weights.safetensors`, what torch makes of these.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::{Value, json};
use tempfile::TempDir;
use warmstart::backbone::{Backbone, Level, Parameters};
use warmstart::batch::shuffled;
use warmstart::corpus::{Corpus, CorpusWriter};
use warmstart::error::Result;
use warmstart::head::{Classification, LanguageBatch, LanguageModel, LinearMap, Start, Task, TaskModel, Truth};
use warmstart::matmul::Precision;
use warmstart::objective::{LanguageObjective, Unit};
use warmstart::optim::{OptimizerOptions, ScheduleKind};
use warmstart::report::{Facts, Record};
use warmstart::rng::{Key, Stream};
use warmstart::text::Encodings;
use warmstart::train::{
    Dataset, Keep, Method, Monitor, PretrainingOptions, TaskOptions, TrainingOptions, fit, pretrain,
    pretraining_batches,
};

type Outcome<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Of losses and norms, relative: rounding of f32 in another order of summation; up to 6.5e-7 is seen.
const TOLERANCE: f64 = 2e-6;
/// Of norms, absolute: gradients come from differences of probabilities, each rounded to about 3e-8.
const NORM_ROUNDING: f64 = 1e-7;
/// Of weights, in steps at the full rate, of which a run makes five or so: a step is the rate times a ratio of moments, and
/// epsilon, 1e-6 or more, keeps gradients that are no larger than their rounding from being made large. Up to 3.7e-5 is
/// seen, which at a rate of 0.01 is the rounding of a weight of 1 to f32, a few times over.
const WEIGHT_TOLERANCE: f64 = 2e-4;
/// The same where a gradient is zero in exact arithmetic: rounding of up to 1e-8 over an epsilon of 1e-6, in each step. Up to
/// 6.7e-3 is seen.
const NOISE: f64 = 5e-2;
const STEPS: usize = 10;
const CLASSIFIERS: [&str; 2] = ["classifier", "probe"];
const LANGUAGE_MODELS: [&str; 2] = ["masked", "causal"];

fn reference(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(path)
}

fn read(run: &str, file: &str) -> Outcome<Value> {
    Ok(serde_json::from_slice(&std::fs::read(reference("training").join(run).join(file))?)?)
}

fn strings(value: &Value) -> Outcome<Vec<String>> {
    Ok(serde_json::from_value(value.clone())?)
}

/// Keeps what it is told of each step.
#[derive(Default)]
pub struct Steps(pub Vec<Record>);

impl Monitor for Steps {
    fn metric(&self) -> Result<String> {
        Ok("score".into())
    }
    fn on_start(&mut self, _: &Facts) -> Result<()> {
        Ok(())
    }
    fn on_step(&mut self, record: &Record) -> Result<()> {
        self.0.push(record.clone());
        Ok(())
    }
    fn on_wait(&mut self) -> Result<()> {
        Ok(())
    }
    fn on_evaluate(&mut self, _: &[f32], _: &Record, _: f64) -> Result<f64> {
        Ok(0.0)
    }
    fn on_epoch(&mut self, _: &Record) -> Result<()> {
        Ok(())
    }
}

fn terms(settings: &Value) -> Outcome<TrainingOptions> {
    let strategy = &settings["strategy"];
    let number = |of: &Value, name: &str| of[name].as_f64().ok_or_else(|| format!("no number {name}: {of}"));
    let count = |name: &str| settings[name].as_u64().ok_or_else(|| format!("no count {name}: {settings}"));
    let schedule = match strategy["schedule"].as_str() {
        Some("linear") => ScheduleKind::Linear,
        Some("cosine") => ScheduleKind::Cosine,
        _ => ScheduleKind::Constant,
    };
    let layer_decay = strategy["layer_decay"].as_f64().unwrap_or(1.0);
    let method = match strategy["method"].as_str() {
        Some("linear_probing") => Method::LinearProbing {},
        _ => Method::FullFineTuning { layer_decay, head_factor: 1.0, embeddings_factor: 1.0 },
    };
    Ok(TrainingOptions {
        strategy: method.into(),
        optimizer: OptimizerOptions {
            learning_rate: number(strategy, "learning_rate")?,
            weight_decay: number(strategy, "weight_decay")?,
            beta1: number(strategy, "beta1")?,
            beta2: number(strategy, "beta2")?,
            epsilon: number(strategy, "epsilon")?,
            schedule,
            warmup_ratio: number(strategy, "warmup_ratio")?,
            max_grad_norm: strategy["max_grad_norm"].as_f64(),
        },
        epochs: 1,
        max_steps: Some(count("max_steps")? as usize),
        batch_tokens: count("batch_tokens")? as usize,
        accumulation_steps: count("accumulation_steps")? as usize,
        eval_every: None,
        patience: None,
        keep: Keep::Best,
        seed: count("seed")?,
        precision: Precision::F32,
        recompute: false,
        checkpoint_dir: None,
        checkpoint_every: None,
    })
}

fn fit_options(settings: &Value) -> Outcome<TaskOptions> {
    let class_weight = serde_json::from_value(settings["class_weight"].clone())?;
    let label_smoothing = settings["strategy"]["label_smoothing"].as_f64().ok_or("no label_smoothing")?;
    let head = Classification { class_weight, label_smoothing, ..Classification::new(Level::Texts, 4, false) };
    Ok(TaskOptions { task: Task::only(head), training: terms(settings)? })
}

fn pretrain_options(settings: &Value) -> Outcome<PretrainingOptions> {
    let objective = match settings["objective"]["kind"].as_str() {
        Some("masked") => LanguageObjective::Masked {
            rate: settings["objective"]["rate"].as_f64().ok_or("no rate")?,
            unit: Unit::Word,
        },
        _ => LanguageObjective::Causal { stream: settings["objective"]["stream"] == true },
    };
    let max_length = settings["max_length"].as_u64().ok_or("no max_length")? as usize;
    Ok(PretrainingOptions { objective, max_length, training: terms(settings)? })
}

/// What a classifier is fitted to: `bert_b`, with its own last map to begin with, or one of zeros.
struct Classified {
    settings: Value,
    backbone: Backbone,
    start: LinearMap,
    encodings: Encodings,
    labels: Vec<u32>,
}

impl Classified {
    fn open(run: &str) -> Outcome<Self> {
        let settings = read(run, "settings.json")?;
        // The same backbone as that of `bert_b`, with a tokenizer.
        let backbone = Backbone::from_pretrained(&reference("bert_b_legacy"))?;
        let stored = candle_core::safetensors::load(reference("bert_b/model.safetensors"), &Device::Cpu)?;
        let values = |name: &str| stored[name].flatten_all()?.to_vec1::<f32>();
        let mut start = LinearMap { weight: values("classifier.weight")?, bias: values("classifier.bias")? };
        if settings["start"] == "zero" {
            start.weight.iter_mut().chain(&mut start.bias).for_each(|value| *value = 0.0);
        }
        let encodings = backbone.encode(&strings(&settings["texts"])?, None, None)?;
        let labels = serde_json::from_value(settings["labels"].clone())?;
        Ok(Self { settings, backbone, start, encodings, labels })
    }

    /// The ids of each text, and which texts make each batch of each step.
    fn batches(&self) -> Outcome<Value> {
        let options = terms(&self.settings)?;
        let key = Key::new(options.seed, Stream::Shuffle);
        let (mut steps, mut epoch) = (Vec::new(), 0);
        while steps.len() < STEPS {
            let batches = shuffled(&self.encodings.lengths(), options.batch_tokens, key.child(epoch));
            steps.extend(batches.chunks(options.accumulation_steps).map(<[_]>::to_vec));
            epoch += 1;
        }
        steps.truncate(STEPS);
        let ids: Vec<&[u32]> = (0..self.encodings.len()).map(|text| self.encodings.ids(text)).collect();
        Ok(json!({ "ids": ids, "steps": steps }))
    }
}

/// What a language model is trained on.
struct Pretrained {
    settings: Value,
    model: LanguageModel,
    corpus: Corpus,
    _dir: TempDir,
}

impl Pretrained {
    fn open(run: &str) -> Outcome<Self> {
        let (settings, dir) = (read(run, "settings.json")?, tempfile::tempdir()?);
        let model = match run {
            "masked" => LanguageModel::from_pretrained(&reference("bert_b_legacy"))?,
            _ => causal_model(dir.path())?,
        };
        let mut writer = CorpusWriter::create(dir.path(), model.backbone.tokenizer.clone())?;
        writer.add(&strings(&settings["texts"])?)?;
        let corpus = writer.finish("corpus")?;
        Ok(Self { settings, model, corpus, _dir: dir })
    }

    /// Those of each step.
    fn batches(&self) -> Outcome<Value> {
        let documents = (&self.corpus, 0..self.corpus.n_documents());
        let steps = pretraining_batches(&self.model.backbone, documents, &pretrain_options(&self.settings)?, false)?;
        let batch = |LanguageBatch { packed, rows, labels, .. }: &LanguageBatch| {
            let all = || (0..packed.n_tokens() as u32).collect();
            json!({
                "ids": *packed.ids, "segments": *packed.segments, "cu_seqlens": *packed.cu_seqlens,
                "rows": rows.as_ref().map_or_else(all, |rows| rows.to_vec()), "labels": labels,
            })
        };
        let steps: Vec<Vec<Value>> = steps.iter().map(|step| step.iter().map(batch).collect()).collect();
        Ok(json!({ "steps": steps }))
    }
}

/// `gpt2_a`, which has no tokenizer, with one of single letters.
pub fn causal_model(dir: &Path) -> Outcome<LanguageModel> {
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(reference("families/gpt2_a").join(file), dir.join(file))?;
    }
    let letters = ('a'..='z').chain('A'..='R').chain(['Ġ']).map(String::from);
    let mut tokens: Vec<String> = letters.collect();
    tokens.insert(1, "<|endoftext|>".into());
    let ids: serde_json::Map<String, Value> = tokens.into_iter().zip((0..).map(|id: u32| json!(id))).collect();
    std::fs::write(dir.join("vocab.json"), Value::Object(ids).to_string())?;
    std::fs::write(dir.join("merges.txt"), "#version: 0.2\n")?;
    Ok(LanguageModel::from_pretrained(dir)?)
}

#[test]
#[ignore = "writes the batches that tests/reference/make_training.py trains on"]
fn batches_when_asked_for_are_written_for_torch() -> Outcome {
    for run in CLASSIFIERS.into_iter().chain(LANGUAGE_MODELS) {
        let is_classifier = CLASSIFIERS.contains(&run);
        let batches =
            if is_classifier { Classified::open(run)?.batches()? } else { Pretrained::open(run)?.batches()? };
        std::fs::write(reference("training").join(run).join("batches.json"), format!("{batches}\n"))?;
    }
    Ok(())
}

/// Each step's loss, norm and rate are torch's, and its tokens those of the recorded batches.
fn assert_steps(run: &str, steps: &[Record]) -> Outcome {
    let recorded = read(run, "torch.json")?;
    let series = |key: &str| -> Outcome<Vec<f64>> { Ok(serde_json::from_value(recorded[key].clone())?) };
    let (losses, norms, rates) = (series("losses")?, series("grad_norms")?, series("learning_rates")?);
    let tokens: Vec<usize> = serde_json::from_value(recorded["tokens"].clone())?;
    assert_eq!(
        (steps.len(), losses.len(), norms.len(), rates.len(), tokens.len()),
        (STEPS, STEPS, STEPS, STEPS, STEPS)
    );
    let mut worst = (0f64, 0f64);
    for (i, step) in steps.iter().enumerate() {
        let (loss, norm) = ((step.loss - losses[i]).abs() / losses[i], (step.grad_norm - norms[i]).abs());
        assert!(loss <= TOLERANCE, "{run} step {i}: loss {}, recorded {}", step.loss, losses[i]);
        let allowed = TOLERANCE * norms[i] + NORM_ROUNDING;
        assert!(norm <= allowed, "{run} step {i}: norm {}, recorded {}", step.grad_norm, norms[i]);
        assert!((step.learning_rate - rates[i]).abs() < 1e-12, "{run} step {i}: {} {}", step.learning_rate, rates[i]);
        assert_eq!((step.step, step.tokens), (i + 1, tokens[..=i].iter().sum()), "{run} step {i}");
        worst = (worst.0.max(loss), worst.1.max(norm / allowed));
    }
    println!("{run}: losses off by {:.1e}, norms by {:.3} of what is allowed", worst.0, worst.1);
    Ok(())
}

/// Softmax does not see a shift of all keys, so the gradient of their bias is zero but for rounding.
fn is_bias_of_keys(name: &str, i: usize, n: usize) -> bool {
    name.ends_with(".key.bias") || (name.ends_with(".c_attn.bias") && (n / 3..2 * n / 3).contains(&i))
}

/// Every weight is torch's, and those that do not learn there are as they were.
fn assert_weights(run: &str, backbone: &Backbone, before: &Parameters, after: &Parameters) -> Outcome {
    let path = reference("training").join(run).join("weights.safetensors");
    let recorded = candle_core::safetensors::load(path, &Device::Cpu)?;
    let rate = read(run, "settings.json")?["strategy"]["learning_rate"].as_f64().ok_or("no rate")?;
    let (mut compared, mut worst) = (0, (0f64, 0f64));
    for (name, array) in after.iter() {
        let prefix = if backbone.params.get(name).is_ok() { backbone.config.family.names.prefix } else { "" };
        let (began, ended) = (before.get(name)?.values()?, array.values()?);
        let Some(expected) = recorded.get(&format!("{prefix}{name}")) else {
            assert!(*began == *ended, "{run}: {name} does not learn in torch");
            continue;
        };
        assert_eq!(array.dims(), expected.dims(), "{run} {name}");
        let expected = expected.flatten_all()?.to_vec1::<f32>()?;
        for (i, (got, expected)) in ended.iter().zip(&expected).enumerate() {
            let off = f64::from((got - expected).abs()) / rate;
            let noise = is_bias_of_keys(name, i, ended.len());
            let allowed = if noise { NOISE } else { WEIGHT_TOLERANCE };
            assert!(off <= allowed, "{run} {name} {i}: {got}, recorded {expected}, off by {off:e} steps");
            if noise { worst.1 = worst.1.max(off) } else { worst.0 = worst.0.max(off) }
        }
        // Else there is nothing to compare.
        let moved = began.iter().zip(&expected).any(|(a, b)| f64::from((a - b).abs()) > 0.01 * rate);
        assert!(moved || is_bias_of_keys(name, 0, 1), "{run}: {name} did not move in torch");
        compared += 1;
    }
    assert_eq!(compared, recorded.len(), "{run}: weights that torch's model alone has");
    println!("{run}: weights off by {:.1e} steps, biases of keys by {:.1e}", worst.0, worst.1);
    Ok(())
}

#[test]
fn fit_when_compared_with_torch_has_the_same_steps_and_weights() -> Outcome {
    for name in CLASSIFIERS {
        let run = Classified::open(name)?;
        assert_eq!(run.batches()?, read(name, "batches.json")?, "{name}: the batches of a run are others than before");
        let dataset =
            Dataset { encodings: &run.encodings, truth: Truth::Classes(run.labels.clone()), sample_weight: None };
        let (options, mut steps) = (fit_options(&run.settings)?, Steps::default());
        let before = TaskModel::initial(&run.backbone, &options.task, Start::LastMap(&run.start), 0)?;
        let outcome = fit(&run.backbone, &dataset, None, &options, Start::LastMap(&run.start), &mut steps)?;
        assert!(outcome.stopped.is_none());
        assert_steps(name, &steps.0)?;
        assert_weights(name, &run.backbone, &before, &outcome.model.ok_or("no model")?.params())?;
    }
    Ok(())
}

#[test]
fn pretrain_when_compared_with_torch_has_the_same_steps_and_weights() -> Outcome {
    for name in LANGUAGE_MODELS {
        let run = Pretrained::open(name)?;
        assert_eq!(run.batches()?, read(name, "batches.json")?, "{name}: the batches of a run are others than before");
        let documents = (&run.corpus, 0..run.corpus.n_documents());
        let (options, mut steps) = (pretrain_options(&run.settings)?, Steps::default());
        let outcome = pretrain(&run.model, documents, None, &options, &mut steps)?;
        assert!(outcome.stopped.is_none());
        assert_steps(name, &steps.0)?;
        assert_weights(name, &run.model.backbone, &run.model.params(), &outcome.model.ok_or("no model")?.params())?;
    }
    Ok(())
}
