//! Published models with a task head: a Hugging Face directory with the head of its class and the labels of its
//! outputs.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::cross_encoder::activation;
use super::targets::TargetKind;
use super::task::Task;
use super::task_model::TaskModel;
use crate::array::Array;
use crate::backbone::{Backbone, Config, HeadOptions, Level, METADATA, Parameters};
use crate::error::{Error, Result};

/// A model with its head, and the labels of its outputs in order.
pub struct Published {
    pub model: TaskModel,
    pub labels: Labels,
}

/// Labels of a head's outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    pub names: Vec<String>,
    /// True if all labels in `id2label` are integers.
    pub are_numbers: bool,
    /// Kind of targets that the head is trained on.
    pub kind: TargetKind,
    /// A warning for whoever opens the model.
    pub note: Option<String>,
}

impl TaskModel {
    /// Read a Hugging Face directory of a text classifier, a token classifier or a regression model of texts, including
    /// its whole head. `kind` says which; for `Classes`, a multi-label model (`Indicators`) may be returned.
    ///
    /// # Errors
    /// `Error::Value` if `config.json` names another kind of head, or its labels are invalid. `Error::Weights` if the
    /// weights do not fit such a head with that many labels.
    pub fn from_pretrained(dir: &Path, kind: TargetKind) -> Result<Published> {
        let level = if kind == TargetKind::Tags { Level::Words } else { Level::Texts };
        let task = |labels: &Labels| Task::of_outputs(labels.kind, labels.names.len());
        let mut labels = None;
        let opened = Backbone::from_pretrained_with(dir, |config| {
            let in_directory = |e: Error| match e {
                Error::Value(message) => Error::Value(format!("{}: {message}", dir.display())),
                other => other,
            };
            check_class(config, level, dir.join(METADATA).is_file()).map_err(in_directory)?;
            let found = labels.insert(Labels::read(&config.raw, kind).map_err(in_directory)?);
            Ok(task(found)?.specs(config))
        });
        let labels = labels.ok_or_else(|| Error::internal("a model was opened and its labels were not read"));
        let (backbone, head) = opened.map_err(|error| match (error, &labels) {
            (Error::Weights(message), Ok(labels)) => Error::Weights(format!(
                "{message} config.json names {} labels: {}.",
                labels.names.len(),
                labels.names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ")
            )),
            (error, _) => error,
        })?;
        // A new head may be put on a newly initialised pooler; a published head was trained on its own.
        if let Some(missing) = backbone.report.missing.first().filter(|_| level == Level::Texts) {
            let name = backbone.config.class(backbone.config.family.class_of_head(level));
            return Err(Error::Weights(format!(
                "{}: the checkpoint has no {missing}, which the head of {name} takes",
                dir.display()
            )));
        }
        let (mut labels, head) = labels?.sorted(head, backbone.config.head(level))?;
        let squashed = activation(&backbone.config.raw, dir)?;
        if let Some(function) = squashed.filter(|_| labels.kind == TargetKind::Numbers) {
            let own = format!(
                "sentence-transformers applies {function} to the outputs of this model: they are given without it, as \
                 transformers does"
            );
            labels.note = Some(labels.note.map_or(own.clone(), |before| format!("{before}; {own}")));
        }
        let task = task(&labels)?;
        Ok(Published { model: Self { backbone, head, task }, labels })
    }
}

/// Check that `config.json` names a class with such a head.
fn check_class(config: &Config, level: Level, is_saved: bool) -> Result<()> {
    let names: Vec<&str> = match config.raw.get("architectures").and_then(Value::as_array) {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => Vec::new(),
    };
    let class = |level: Level| config.family.class_of_head(level);
    let has = |level: Level| names.iter().any(|name| Config::is_class(name, class(level)));
    if has(level) {
        return Ok(());
    }
    let found =
        if names.is_empty() { "has no architectures".to_string() } else { format!("names {}", names.join(", ")) };
    let (other, estimator) = match level {
        Level::Texts | Level::Tokens => (Level::Words, "TokenClassifier"),
        Level::Words => (Level::Texts, "TextClassifier"),
    };
    let hint = if has(other) {
        format!("open it with {estimator}.from_pretrained")
    } else if is_saved {
        "load(path) opens what an estimator's save() wrote".into()
    } else {
        "to begin a new head, give the estimator Backbone.from_pretrained(path)".into()
    };
    Err(Error::Value(format!("config.json {found}; expected {}: {hint}", config.class(class(level)))))
}

impl Labels {
    /// Read the labels as transformers 5.24 does: `id2label`, or without it `LABEL_0` and so on, `num_labels` of them
    /// or two, the default that is not written. transformers ignores a `label2id` without `id2label`; here its names
    /// are used, with a note.
    pub(super) fn read(raw: &Map<String, Value>, kind: TargetKind) -> Result<Self> {
        let bad = |message: String| Error::Value(format!("config.json: {message}"));
        let field = |name: &str| raw.get(name).filter(|value| !value.is_null());
        let count = match field("num_labels") {
            None => None,
            Some(n) => Some(
                n.as_u64()
                    .filter(|n| *n <= MOST as u64)
                    .ok_or_else(|| bad(format!("num_labels is {n}; expected a whole number of at most {MOST}")))?
                    as usize,
            ),
        };
        let mut note = None;
        let names = match (field("id2label"), field("label2id")) {
            (Some(labels), other) => {
                let read = |(id, label): (&String, &Value)| Some((id.parse().ok()?, text(label)?));
                let names = in_order(labels, read).map_err(|e| bad(format!("id2label {e}")))?;
                let id_of = |name: &str| other.and_then(|ids| ids.get(name)).and_then(Value::as_u64);
                if other.is_some() && names.iter().enumerate().any(|(i, name)| id_of(name) != Some(i as u64)) {
                    note = Some("config.json: label2id does not say what id2label says, which counts".to_string());
                }
                names
            }
            (None, Some(labels)) => {
                let read = |(label, id): (&String, &Value)| Some((id.as_u64()? as usize, label.clone()));
                let names = in_order(labels, read).map_err(|e| bad(format!("label2id {e}")))?;
                note = Some(format!(
                    "config.json has label2id and no id2label: the outputs are called {} here, LABEL_0 and on in transformers",
                    names.join(", ")
                ));
                names
            }
            (None, None) => (0..count.unwrap_or(2)).map(|i| format!("LABEL_{i}")).collect(),
        };
        if let Some(count) = count.filter(|count| *count != names.len()) {
            return Err(bad(format!("num_labels is {count}, and {} labels are named", names.len())));
        }
        let mut known = HashMap::new();
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(bad(format!("output {i} is called nothing")));
            }
            if let Some(first) = known.insert(name, i) {
                return Err(bad(format!("outputs {first} and {i} are both called {name:?}")));
            }
        }
        let are_numbers =
            field("id2label").and_then(Value::as_object).is_some_and(|labels| labels.values().all(Value::is_i64));
        let found = match field("problem_type") {
            _ if kind == TargetKind::Tags => TargetKind::Tags,
            None if names.len() == 1 => TargetKind::Numbers,
            None => TargetKind::Classes,
            Some(problem) => match problem.as_str() {
                Some("single_label_classification") => TargetKind::Classes,
                Some("multi_label_classification") => TargetKind::Indicators,
                Some("regression") => TargetKind::Numbers,
                _ => {
                    return Err(bad(format!(
                        "problem_type is {problem}; supported: \"single_label_classification\", \
                         \"multi_label_classification\", \"regression\""
                    )));
                }
            },
        };
        if (kind == TargetKind::Numbers) != (found == TargetKind::Numbers) {
            let (is, estimator) = match found {
                TargetKind::Numbers => ("a regression", "TextRegressor"),
                _ => ("a classification", "TextClassifier"),
            };
            let problem = field("problem_type").map_or_else(
                || format!("{} labels and no problem_type make it {is}", names.len()),
                |problem| format!("problem_type is {problem}"),
            );
            return Err(bad(format!("{problem}: open it with {estimator}.from_pretrained")));
        }
        if names.len() < 2 && !matches!(found, TargetKind::Indicators | TargetKind::Numbers) {
            return Err(bad(format!("names {} labels; a classifier has two or more", names.len())));
        }
        Ok(Self { names, are_numbers, kind: found, note })
    }

    /// For single-label text classifiers, sort the outputs by label, as scikit-learn's scorers expect the columns of
    /// probabilities; leave other models as they are.
    pub(super) fn sorted(mut self, mut head: Parameters, options: &HeadOptions) -> Result<(Self, Parameters)> {
        if self.kind != TargetKind::Classes {
            return Ok((self, head));
        }
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        if self.are_numbers {
            order.sort_by_key(|&i| self.names[i].parse::<i64>().unwrap_or_default());
        } else {
            order.sort_by_key(|&i| &self.names[i]);
        }
        for name in [format!("{}.weight", options.output), options.output_bias.to_string()] {
            if name.is_empty() || order.is_sorted() {
                continue;
            }
            let rows = head.get(&name)?.entries()?;
            let rows: Vec<Array> = order.iter().map(|&i| rows[i].clone()).collect();
            head.replace(&name, Array::stack(&rows)?)?;
        }
        self.names = order.iter().map(|&i| self.names[i].clone()).collect();
        Ok((self, head))
    }
}

/// Maximum number of labels; no model has more.
const MOST: usize = 1 << 16;

/// A label as text; older files have numbers.
fn text(label: &Value) -> Option<String> {
    match label {
        Value::String(label) => Some(label.clone()),
        Value::Number(label) => Some(label.to_string()),
        _ => None,
    }
}

/// Labels of a JSON object ordered by id; the ids must be 0, 1 and so on.
fn in_order(
    labels: &Value,
    read: impl Fn((&String, &Value)) -> Option<(usize, String)>,
) -> std::result::Result<Vec<String>, String> {
    let expected = || format!("is {labels}; expected a label for each of 0, 1 and so on");
    let mut pairs = labels
        .as_object()
        .and_then(|labels| labels.iter().map(read).collect::<Option<Vec<_>>>())
        .ok_or_else(expected)?;
    pairs.sort();
    if pairs.iter().enumerate().any(|(i, (id, _))| i != *id) {
        return Err(expected());
    }
    Ok(pairs.into_iter().map(|(_, label)| label).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Value, kind: TargetKind) -> std::result::Result<Labels, String> {
        let raw = config.as_object().cloned().unwrap_or_default();
        Labels::read(&raw, kind).map_err(|e| e.to_string())
    }

    /// The expected number and names of outputs are those of transformers 5.24.0 for the same fields.
    #[test]
    fn labels_when_fields_are_given_or_not_are_those_of_transformers() {
        for (config, expected) in [
            (json!({}), vec!["LABEL_0", "LABEL_1"]),
            (json!({"num_labels": 3}), vec!["LABEL_0", "LABEL_1", "LABEL_2"]),
            (json!({"id2label": {"1": "y", "0": "x"}}), vec!["x", "y"]),
            (json!({"id2label": null, "label2id": null}), vec!["LABEL_0", "LABEL_1"]),
            (json!({"id2label": {"0": 5, "1": 1}, "num_labels": 2}), vec!["5", "1"]),
        ] {
            let found = read(&config, TargetKind::Classes);
            assert_eq!(
                found,
                Ok(Labels {
                    names: expected.into_iter().map(String::from).collect(),
                    are_numbers: config["id2label"]["0"].is_i64(),
                    kind: TargetKind::Classes,
                    note: None
                })
            );
        }
        let alone = read(&json!({"label2id": {"c": 2, "a": 0, "b": 1}}), TargetKind::Tags);
        assert!(alone.is_ok_and(|found| found.names == ["a", "b", "c"] && found.note.is_some()));
        let many =
            read(&json!({"id2label": {"0": "x"}, "problem_type": "multi_label_classification"}), TargetKind::Classes);
        assert!(many.is_ok_and(|found| found.kind == TargetKind::Indicators));
        // `problem_type` does not apply to token classifiers.
        assert!(read(&json!({"problem_type": "regression"}), TargetKind::Tags).is_ok());
    }

    #[test]
    fn labels_when_they_mean_nothing_are_refused_by_name() {
        for (config, expected) in [
            (json!({"id2label": {"0": "x", "2": "y"}}), "expected a label for each of 0, 1"),
            (json!({"id2label": ["x", "y"]}), "id2label is [\"x\",\"y\"]"),
            (json!({"id2label": {"0": "x", "1": null}}), "expected a label"),
            (json!({"label2id": {"x": 0, "y": 0}}), "label2id is"),
            (json!({"id2label": {"0": "x", "1": "x"}}), "outputs 0 and 1 are both called \"x\""),
            (json!({"id2label": {"0": "x", "1": "y", "2": "z"}, "num_labels": 2}), "num_labels is 2, and 3 labels"),
            (json!({"id2label": {"0": "x", "1": ""}}), "output 1 is called nothing"),
            (json!({"num_labels": 1_000_000_000_000_u64}), "expected a whole number of at most"),
            (json!({"num_labels": "2"}), "num_labels is \"2\""),
            (
                json!({"problem_type": "regression"}),
                "problem_type is \"regression\": open it with TextRegressor.from_pretrained",
            ),
            (json!({"num_labels": 1}), "1 labels and no problem_type make it a regression"),
            (json!({"num_labels": 1, "problem_type": "single_label_classification"}), "names 1 labels"),
            (json!({"problem_type": "ranking"}), "problem_type is \"ranking\"; supported"),
        ] {
            let found = read(&config, TargetKind::Classes);
            assert!(found.as_ref().is_err_and(|message| message.contains(expected)), "{config}: {found:?}");
        }
    }
}
