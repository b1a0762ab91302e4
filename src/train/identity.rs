//! The identity of a run, which must match for it to resume from a checkpoint, and the first difference of two
//! identities.

use serde_json::{Map, Value, json};

use super::learner::Learner;
use super::options::{Keep, TrainingOptions};
use crate::backbone::{Config, Parameters, fingerprint};
use crate::error::Result;

const STARTING_WEIGHTS: &str = "starting weights";
pub(super) const MODEL: &str = "model";
pub(super) const SEED: &str = "random_state";

/// Identity of a run: starting weights, model, data and options, except where and how often it saves and evaluates.
pub(super) fn of_run(learner: &impl Learner, params: &Parameters, options: &TrainingOptions) -> Result<Value> {
    let own = json!({
        STARTING_WEIGHTS: fingerprint(params)?,
        "strategy": options.strategy,
        "optimizer": options.optimizer,
        "epochs": options.max_steps.map_or(Some(options.epochs), |_| None),
        "max_steps": options.max_steps,
        "batch_tokens": options.batch_tokens,
        "accumulation_steps": options.accumulation_steps,
        "keep": if options.keep == Keep::Best { "best" } else { "last" },
        SEED: options.seed,
        "precision": options.precision,
    });
    let mut all = learner.identity();
    if let (Value::Object(all), Value::Object(own)) = (&mut all, own) {
        all.extend(own);
    }
    Ok(all)
}

/// The `config.json` fields that describe the models, in the order in which a batch passes through them.
pub(super) fn of_models(configs: &[&Config]) -> Value {
    let raw = |config: &&Config| {
        let mut raw: Map<String, Value> = config.raw.clone();
        for unrelated in ["_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version"] {
            raw.remove(unrelated);
        }
        raw
    };
    configs.iter().map(raw).collect::<Vec<_>>().into()
}

/// Remove the fingerprint of the starting weights from an identity. If all else is equal, another fingerprint means
/// that the model has been trained since; if not, a new head may have been initialised differently because of the other
/// difference.
pub(super) fn take_weights(identity: &mut Value) -> Option<Value> {
    identity.as_object_mut()?.remove(STARTING_WEIGHTS)
}

/// The first difference of two JSON values: the path to it, and the values then and now.
pub(super) fn difference(then: &Value, now: &Value) -> Option<String> {
    if then == now {
        return None;
    }
    let inner = match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let names = now.keys().chain(then.keys());
            names.into_iter().find_map(|name| {
                let [then, now] = [then, now].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                Some((name.as_str(), difference(then, now)?))
            })
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            then.iter().zip(now).find_map(|(then, now)| Some(("", difference(then, now)?)))
        }
        _ => None,
    };
    Some(match inner {
        Some((name, difference)) => format!("{name} {difference}").trim_start().to_string(),
        None => format!("{}, now {}", short(then), short(now)),
    })
}

fn short(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = value.to_string();
    if text.chars().count() > SHOWN { text.chars().take(SHOWN).chain("...".chars()).collect() } else { text }
}
