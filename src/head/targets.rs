//! Training targets of a head.

use crate::error::{Error, Result};

/// Targets of `N` items: texts, words or tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// One class index per item, `[N]`.
    Classes(Vec<u32>),
    /// Multi-label targets: 0 or 1 for each output, row-major `[N, C]`.
    Indicators(Vec<f32>),
    /// Class index of each word and the index of its text, both `[N]`; the words of a text are adjacent.
    Tags { classes: Vec<u32>, texts: Vec<u32> },
    /// A real number for each output, row-major `[N, C]`.
    Numbers(Vec<f32>),
    /// Token id per item, none where there is no label, `[N]`.
    Tokens(Vec<Option<u32>>),
}

/// The kind of targets that a head learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Classes,
    Indicators,
    Tags,
    Numbers,
    Tokens,
}

impl TargetKind {
    const ALL: [(&str, Self); 5] = [
        ("classes", Self::Classes),
        ("indicators", Self::Indicators),
        ("tags", Self::Tags),
        ("numbers", Self::Numbers),
        ("tokens", Self::Tokens),
    ];

    /// Name of the kind.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind with this name.
    ///
    /// # Errors
    /// `Error::Value` for an unknown name.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        found.ok_or_else(|| Error::Value(format!("there are no targets called {name:?}")))
    }
}

impl Truth {
    /// The kind of these targets.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Classes(_) => TargetKind::Classes,
            Self::Indicators(_) => TargetKind::Indicators,
            Self::Tags { .. } => TargetKind::Tags,
            Self::Numbers(_) => TargetKind::Numbers,
            Self::Tokens(_) => TargetKind::Tokens,
        }
    }

    /// Number of items `N`; `n_outputs` is the number of values per item where there are several.
    pub fn len(&self, n_outputs: usize) -> usize {
        match self {
            Self::Classes(classes) | Self::Tags { classes, .. } => classes.len(),
            Self::Indicators(values) | Self::Numbers(values) => values.len() / n_outputs.max(1),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// The targets as 32 bits each, for fingerprints.
    pub fn bits(&self) -> Vec<u32> {
        match self {
            Self::Classes(classes) | Self::Tags { classes, .. } => classes.clone(),
            Self::Indicators(values) | Self::Numbers(values) => values.iter().map(|value| value.to_bits()).collect(),
            Self::Tokens(tokens) => tokens.iter().map(|token| token.map_or(0, |token| token + 1)).collect(),
        }
    }
}

/// Targets of `N` items and their weights.
#[derive(Debug, Clone)]
pub struct Targets {
    pub truth: Truth,
    /// Weight of each item, `[N]`; none: all weights are equal.
    pub weights: Option<Vec<f32>>,
}

impl Targets {
    /// The targets of the selected items; `n_outputs` is the number of values per item.
    #[must_use]
    pub fn select(&self, items: &[usize], n_outputs: usize) -> Self {
        let rows =
            |values: &[f32]| items.iter().flat_map(|&i| &values[i * n_outputs..][..n_outputs]).copied().collect();
        let classes = |classes: &[u32]| items.iter().map(|&i| classes[i]).collect();
        let truth = match &self.truth {
            Truth::Classes(all) => Truth::Classes(classes(all)),
            Truth::Indicators(values) => Truth::Indicators(rows(values)),
            Truth::Tags { classes: all, texts } => Truth::Tags { classes: classes(all), texts: classes(texts) },
            Truth::Numbers(values) => Truth::Numbers(rows(values)),
            Truth::Tokens(tokens) => Truth::Tokens(items.iter().map(|&i| tokens[i]).collect()),
        };
        Self { truth, weights: self.weights.as_ref().map(|weights| items.iter().map(|&i| weights[i]).collect()) }
    }

    /// Check that the targets are of this kind, that there are `n_items`, and that they are in range for `n_outputs`.
    ///
    /// # Errors
    /// `Error::Value` names the first invalid target.
    pub fn check(&self, kind: TargetKind, n_items: usize, n_outputs: usize, which: &str) -> Result<()> {
        let found = self.truth.kind();
        if found != kind {
            return Err(Error::Value(format!(
                "{which}: targets are {}, the head learns from {}",
                found.name(),
                kind.name()
            )));
        }
        let n = self.truth.len(n_outputs);
        if n != n_items {
            return Err(Error::Value(format!("{which}: got {n} labels for {n_items} texts")));
        }
        let beyond = |id: u32| id as usize >= n_outputs;
        let wrong = match &self.truth {
            Truth::Classes(classes) | Truth::Tags { classes, .. } => classes.iter().position(|&class| beyond(class)),
            Truth::Indicators(values) => values.iter().position(|t| !(0.0..=1.0).contains(t)),
            Truth::Numbers(values) => values.iter().position(|t| !t.is_finite()),
            Truth::Tokens(tokens) => tokens.iter().position(|token| token.is_some_and(beyond)),
        };
        match wrong {
            Some(i) => Err(Error::Value(format!("{which}: label {i} is out of range for {n_outputs} outputs"))),
            None => Ok(()),
        }
    }
}
