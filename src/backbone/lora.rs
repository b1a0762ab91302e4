//! A low-rank adapter as it is asked for, before it is known which linear layers of a backbone it is for.

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::family::Part;
use super::low_rank::{AdaptedMap, Kind, LowRank, is_on, module};
use super::spec::Spec;
use super::transformer::depth;
use crate::error::{Error, Result};

/// The fields of `warmstart.LoRA`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// The adapter name that appears in the parameter names.
    pub name: String,
    /// `r`
    pub rank: usize,
    pub alpha: f64,
    /// None for all linear layers of the backbone's layers.
    pub targets: Option<AdapterTargets>,
    /// Whether the scale is `alpha / sqrt(r)` instead of `alpha / r` (Kalajdzievski 2023).
    pub rslora: bool,
    pub kind: Kind,
    /// Factor on the learning rate of `B` (LoRA+, Hayou et al. 2024).
    pub lora_plus: f64,
}

/// Which linear layers are adapted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AdapterTargets {
    /// A part of a layer (`attention`, `feed_forward`, `query`, `key`, `value`, `attention_output`, `gate`, `up`, `down`),
    /// or a regular expression that matches the whole name of a module.
    Pattern(String),
    /// Parts of a layer, and names or name endings of modules (`attention.self.query`).
    Names(Vec<String>),
}

impl AdapterTargets {
    fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    fn names(&self) -> &[String] {
        match self {
            Self::Pattern(pattern) => std::slice::from_ref(pattern),
            Self::Names(names) => names,
        }
    }
}

/// A linear layer of a backbone: its module, and the numbers of its outputs and inputs.
type Found<'a> = (&'a str, [usize; 2]);

impl Lora {
    /// The name of the strategy in Python.
    pub fn label(&self) -> &'static str {
        if self.kind == Kind::Miss { "MiSS" } else { "LoRA" }
    }

    /// # Errors
    /// `Error::Value` for a number out of its range.
    pub fn check(&self) -> Result<()> {
        let (Self { rank, alpha, lora_plus, .. }, label) = (self, self.label());
        if *rank == 0 || !(*alpha as f32).is_normal() {
            return Err(Error::Value(format!(
                "{label}(rank={rank}, alpha={alpha}): expected at least 1, and a number that is not 0"
            )));
        }
        if !(*lora_plus > 0.0 && lora_plus.is_finite()) {
            return Err(Error::Value(format!("{label}(lora_plus={lora_plus}): expected more than 0")));
        }
        if self.targets.as_ref().is_some_and(AdapterTargets::is_empty) {
            return Err(Error::Value(format!("{label}(targets=[]): expected None for all linear layers, or names")));
        }
        Ok(())
    }

    /// The adapter for a backbone with these specs.
    ///
    /// # Errors
    /// `Error::Value` if a target is no linear layer of this backbone, or the rank is more than a layer can have.
    pub fn on(&self, config: &Config, backbone: &[Spec]) -> Result<LowRank> {
        self.check()?;
        let maps: Vec<(Found, usize)> = backbone
            .iter()
            .filter_map(|spec| Some(((module(&spec.name), spec.map?.shape), depth(&spec.name, config))))
            .collect();
        let in_layers = 1..=config.num_hidden_layers;
        let is_chosen: Box<dyn Fn(&str) -> bool> = match &self.targets {
            None => Box::new(|_| true),
            Some(AdapterTargets::Pattern(pattern)) if parts(pattern, config).is_none() => {
                let regex = Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|e| Error::Value(format!("targets={pattern:?} is no regular expression: {e}")))?;
                if !maps.iter().any(|((map, _), _)| matches(&regex, map)) {
                    return Err(unknown(pattern, &maps, config));
                }
                Box::new(move |map| matches(&regex, map))
            }
            Some(targets) => {
                let names = targets.names();
                let targets = names.iter().map(|name| found_by(name, config)).collect::<Result<Vec<_>>>()?;
                for (name, found) in names.iter().zip(&targets) {
                    if !maps.iter().any(|((map, _), _)| found.iter().any(|target| target.is_on(map, config))) {
                        return Err(unknown(name, &maps, config));
                    }
                }
                Box::new(move |map| targets.iter().flatten().any(|target| target.is_on(map, config)))
            }
        };
        let among = |depth: &usize| self.targets.is_some() || in_layers.contains(depth);
        let chosen: Vec<Found> =
            maps.iter().filter(|((map, _), depth)| among(depth) && is_chosen(map)).map(|(map, _)| *map).collect();
        drop(is_chosen);
        let adapted = |(map, [n_out, n_in]): Found| {
            let largest = n_out.min(n_in);
            if self.rank > largest {
                return Err(Error::Value(format!(
                    "{}(rank={}): {map} is {n_out} x {n_in}, so that its rank is at most {largest}",
                    self.label(),
                    self.rank
                )));
            }
            Ok((map.to_string(), AdaptedMap { rank: self.rank, alpha: self.alpha }))
        };
        Ok(LowRank {
            name: self.name.clone(),
            kind: self.kind,
            rslora: self.rslora,
            maps: chosen.into_iter().map(adapted).collect::<Result<_>>()?,
        })
    }
}

/// The linear layers that a part of a transformer layer consists of; None if `target` is no such part.
fn parts(target: &str, config: &Config) -> Option<Vec<Part>> {
    let names = &config.family.names;
    Some(match target {
        "attention" => vec![names.query, names.key, names.value, Part::whole(names.attention_output)],
        "feed_forward" => vec![names.gate, names.up, Part::whole(names.down)],
        "query" => vec![names.query],
        "key" => vec![names.key],
        "value" => vec![names.value],
        "attention_output" => vec![Part::whole(names.attention_output)],
        "gate" => vec![names.gate],
        "up" => vec![names.up],
        "down" => vec![Part::whole(names.down)],
        _ => return None,
    })
}

/// What a target asks of the name of a module.
enum Target<'a> {
    /// It is this or ends so.
    Ending(&'a str),
    /// It is this part of a layer, and not of a part of one, as BERT's `attention.output.dense` beside `output.dense`.
    Part(&'static str),
}

impl Target<'_> {
    fn is_on(&self, module: &str, config: &Config) -> bool {
        match self {
            Self::Ending(ending) => is_on(ending, module),
            Self::Part(part) => {
                let (before, after) = config.family.names.layer.split_once("{}").unwrap_or_default();
                let behind =
                    module.strip_prefix(before).map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
                behind.is_some_and(|rest| rest.strip_prefix(after) == Some(&format!(".{part}")))
            }
        }
    }
}

/// What a target stands for: the parts of a layer of this name, or the name itself.
fn found_by<'a>(target: &'a str, config: &Config) -> Result<Vec<Target<'a>>> {
    let Some(parts) = parts(target, config) else { return Ok(vec![Target::Ending(target)]) };
    if let ([part], true) = (&parts[..], parts.iter().any(|part| part.of > 1)) {
        return Err(Error::Value(format!(
            "targets: {target:?} is a part of the one map {:?} in this backbone ({}); name that",
            part.name, config.family.name
        )));
    }
    Ok(parts.into_iter().filter(|part| !part.name.is_empty()).map(|part| Target::Part(part.name)).collect())
}

/// True if a pattern matches a name; one that takes too long to decide does not.
pub(super) fn matches(regex: &Regex, name: &str) -> bool {
    regex.is_match(name).unwrap_or(false)
}

fn unknown(target: &str, maps: &[(Found, usize)], config: &Config) -> Error {
    let last = maps.iter().filter(|(_, depth)| *depth == config.num_hidden_layers).map(|((map, _), _)| *map);
    let elsewhere =
        maps.iter().filter(|(_, depth)| !(1..=config.num_hidden_layers).contains(depth)).map(|((map, _), _)| *map);
    let known: Vec<&str> = last.chain(elsewhere).collect();
    Error::Value(format!(
        "targets: this backbone has no linear layer {target:?}; its last layer has, and beside the layers there are: {}. \
         Give a part (\"attention\", \"feed_forward\", \"query\", \"key\", \"value\", \"attention_output\", \"gate\", \
         \"up\", \"down\"), or the end of such a name",
        known.join(", ")
    ))
}
