//! Heads of several tasks over one backbone, targets, and what outputs say.

use std::path::Path;

use warmstart::autograd::GradientSlot;
use warmstart::backbone::{Backbone, Level, Mode, Owner, Parameters};
use warmstart::batch::PackedBatch;
use warmstart::error::Result;
use warmstart::head::{
    Classification, Head, LinearMap, Regression, Start, TargetKind, Targets, Task, TaskModel, TaskNetwork, Truth,
};
use warmstart::matmul::Precision;
use warmstart::ops::regression_loss::Penalty;
use warmstart::optim::{Gradients, Trainable};
use warmstart::rng::{Key, Stream};
use warmstart::text::Encodings;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

fn backbone() -> Result<Backbone> {
    Backbone::from_pretrained(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/bert_b_legacy"))
}

#[test]
fn heads_of_several_tasks_stand_beside_each_other_and_learn_apart() -> Checked {
    let backbone = backbone()?;
    let tasks = [
        Task::one_of_several("topic", Classification::new(Level::Texts, 3, false)),
        Task::one_of_several("grade", Regression::new(vec![Penalty::Squared; 2])),
    ];
    let mut params = backbone.params.clone();
    let mut names = Vec::new();
    for task in &tasks {
        let specs = task.specs(&backbone.config);
        assert!(specs.iter().all(|spec| spec.owner == Owner::head(&task.name)));
        names.push(specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>());
        params = params.with(&Parameters::initialised(&specs, Key::new(1, Stream::Init))?);
    }
    assert_eq!(names[0], ["heads.topic.classifier.weight", "heads.topic.classifier.bias"]);
    assert_eq!(names[1], ["heads.grade.classifier.weight", "heads.grade.classifier.bias"]);
    // A model's only task has the names that transformers gives them.
    let only = Task::only(Classification::new(Level::Texts, 3, false));
    assert_eq!(only.specs(&backbone.config)[0].name, "classifier.weight");

    let all = names.concat();
    let trainable = |name: &String| -> Result<Trainable> {
        Ok(Trainable { name: name.clone(), array: params.get(name)?.clone(), learning_rate: 1.0, weight_decay: 0.0 })
    };
    let trainable = all.iter().map(trainable).collect::<Result<Vec<_>>>()?;
    let truths = [Truth::Classes(vec![2, 0]), Truth::Numbers(vec![0.5, -1.0, 2.0, 0.25])];
    let texts = [(vec![2, 20, 21, 3], vec![0; 4]), (vec![2, 30, 3], vec![0; 3])];
    let batch = PackedBatch::collate(&Encodings::from_ids(&texts), vec![0, 1]);
    for (i, (task, truth)) in tasks.iter().zip(truths).enumerate() {
        let gradients = Gradients::new(&trainable)?;
        let mut learning = params.clone();
        let slots: Vec<GradientSlot> = gradients.slots();
        for (p, slot) in trainable.iter().zip(slots) {
            learning.train(&p.name, p.array.clone(), slot)?;
        }
        let network = TaskNetwork::new(backbone.encoder(Precision::F32)?, &learning, &backbone.config, task)?;
        let targets = Targets { truth, weights: None };
        targets.check(task.head.learns_from(), 2, task.head.n_outputs(), "test")?;
        let pooled = network.pooled(&batch, Mode::inference())?;
        let loss = network.loss(&pooled, &targets, task.head.normalizer(&targets), Mode::inference())?;
        assert_eq!(network.outputs(&pooled, Mode::inference())?.array().dims(), [2, task.head.n_outputs()]);
        loss.backward()?;
        gradients.read(|found| {
            for (name, gradient) in all.iter().zip(found) {
                let learns = gradient.is_some_and(|g| g.to_vec().iter().any(|x| *x != 0.0));
                assert_eq!(learns, names[i].contains(name), "{name} by {}", task.name);
            }
        })?;
    }
    Ok(())
}

#[test]
fn outputs_of_each_kind_are_decoded() {
    let classes = Classification::new(Level::Texts, 3, false);
    // Of equal ones the first, as in NumPy.
    assert_eq!(classes.decode(&[0.0, 2.0, 2.0, -3.0, -1.0, -2.0]), Truth::Classes(vec![1, 1]));
    let labels = Classification::new(Level::Texts, 3, true);
    assert_eq!(labels.decode(&[0.0, 0.1, -0.1]), Truth::Indicators(vec![0.0, 1.0, 0.0]));
    assert_eq!(Classification::new(Level::Words, 2, false).decode(&[1.0, 2.0]), Truth::Classes(vec![1]));
    assert_eq!(Regression::new(vec![Penalty::Squared]).decode(&[1.5, -2.0]), Truth::Numbers(vec![1.5, -2.0]));
}

#[test]
fn targets_of_another_kind_number_or_range_are_refused() {
    let check = |truth: Truth, kind, n, c| {
        Targets { truth, weights: None }.check(kind, n, c, "set").map_err(|e| e.to_string()).err().unwrap_or_default()
    };
    assert_eq!(check(Truth::Numbers(vec![1.0; 6]), TargetKind::Numbers, 3, 2), "");
    let tags = || Truth::Tags { classes: vec![0, 4], texts: vec![0, 0] };
    for (message, expected) in [
        (
            check(Truth::Numbers(vec![1.0]), TargetKind::Classes, 1, 1),
            "targets are numbers, the head learns from classes",
        ),
        (check(Truth::Numbers(vec![1.0; 6]), TargetKind::Numbers, 4, 2), "got 3 labels for 4 texts"),
        (check(Truth::Numbers(vec![f32::NAN]), TargetKind::Numbers, 1, 1), "label 0 is out of range"),
        (check(tags(), TargetKind::Tags, 2, 4), "label 1 is out of range for 4 outputs"),
        (check(Truth::Tokens(vec![None, Some(9)]), TargetKind::Tokens, 2, 9), "label 1 is out of range for 9 outputs"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn targets_of_some_items_keep_their_weights_and_texts() {
    let tags = Truth::Tags { classes: vec![3, 1, 2], texts: vec![0, 0, 1] };
    let some = Targets { truth: tags, weights: Some(vec![0.5, 1.0, 2.0]) }.select(&[2, 0], 4);
    assert_eq!(some.truth, Truth::Tags { classes: vec![2, 3], texts: vec![1, 0] });
    assert_eq!(some.weights, Some(vec![2.0, 0.5]));
    let rows = Targets { truth: Truth::Numbers(vec![1.0, 2.0, 3.0, 4.0]), weights: None }.select(&[1], 2);
    assert_eq!(rows.truth, Truth::Numbers(vec![3.0, 4.0]));
}

#[test]
fn outputs_that_are_scaled_are_those_of_the_last_map() -> Checked {
    let backbone = backbone()?;
    let task = Task::only(Regression::new(vec![Penalty::Squared; 2]));
    let params = TaskModel::initial(&backbone, &task, Start::New, 3)?;
    let model = TaskModel::new(&backbone, &params, task);
    let encodings = Encodings::from_ids(&[(vec![2, 20, 3], vec![0; 3])]);
    let outputs = |model: &TaskModel| model.outputs(&encodings, 100, Precision::F32, &mut |_| Ok(()));
    let (plain, scaled) = (outputs(&model)?, outputs(&model.with_outputs_scaled(&[2.0, -0.5], &[1.0, 100.0])?)?);
    for (i, (scale, shift)) in [(2.0, 1.0), (-0.5, 100.0)].into_iter().enumerate() {
        assert!((scaled[i] - (scale * plain[i] + shift)).abs() < 1e-4, "{scaled:?} {plain:?}");
    }
    Ok(())
}

#[test]
fn a_model_of_one_of_several_tasks_begins_predicts_and_is_scaled_as_a_model_of_one() -> Checked {
    let backbone = backbone()?;
    let outputs = |task: Task| -> Result<(Vec<f32>, Vec<f32>)> {
        let last = LinearMap { weight: (0..40).map(|i| (i % 7) as f32 / 9.0).collect(), bias: vec![0.25, -1.0] };
        let params = TaskModel::initial(&backbone, &task, Start::LastMap(&last), 3)?;
        assert_eq!(TaskModel::untrained_below(&backbone, &task), None);
        let encodings = Encodings::from_ids(&[(vec![2, 20, 3], vec![0; 3])]);
        let features = TaskModel::features(&backbone, &task, &encodings, 100, Precision::F32, &mut |_| Ok(()))?.0;
        let model = TaskModel::new(&backbone, &params, task).with_outputs_scaled(&[2.0, 3.0], &[1.0, 0.0])?;
        Ok((model.outputs(&encodings, 100, Precision::F32, &mut |_| Ok(()))?, features))
    };
    let head = || Regression::new(vec![Penalty::Squared; 2]);
    let (only, one) = (outputs(Task::only(head()))?, outputs(Task::one_of_several("grade", head()))?);
    assert_eq!(only, one);
    let expected: f32 = only.1.iter().enumerate().map(|(i, x)| x * (i % 7) as f32 / 9.0).sum::<f32>() + 0.25;
    assert!((only.0[0] - (2.0 * expected + 1.0)).abs() < 1e-4, "{:?} {expected}", only.0);
    Ok(())
}

#[test]
fn a_model_of_one_of_several_tasks_when_saved_is_refused() -> Checked {
    let (backbone, place) = (backbone()?, tempfile::tempdir()?);
    let task = Task::one_of_several("grade", Regression::new(vec![Penalty::Squared]));
    let params = TaskModel::initial(&backbone, &task, Start::New, 3)?;
    let saved = TaskModel::new(&backbone, &params, task).save(place.path(), &["a".into()], "{}", u64::MAX);
    let error = saved.err().ok_or("it was saved")?;
    assert!(error.to_string().contains("\"grade\" is one of several tasks"), "{error}");
    assert_eq!(std::fs::read_dir(place.path())?.count(), 0);
    Ok(())
}
