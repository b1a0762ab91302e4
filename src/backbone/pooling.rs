//! Pooling: a text's token vectors to one vector.

use crate::autograd::Var;
use crate::batch::PackedBatch;
use crate::error::{Error, Result};
use crate::ops::columns::side_by_side;
use crate::ops::embedding::embedding;
use crate::ops::segment_pool::{Reduction, segment_pool};

/// Pooling over the tokens of a text, special tokens included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    Cls,
    Max,
    Mean,
    /// The sum over the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean in which the first token counts once, the second twice, and so on.
    WeightedMean,
    /// The last token.
    Last,
    /// Not a reduction: the first token of each word.
    Words,
}

/// Poolings with their names here and in sentence-transformers 6 (`pooling_mode`), in the order in which its older
/// versions concatenate several.
const NAMES: [(Pooling, &str, &str); 6] = [
    (Pooling::Cls, "cls", "cls"),
    (Pooling::Max, "max", "max"),
    (Pooling::Mean, "mean", "mean"),
    (Pooling::MeanSqrtLen, "mean_sqrt_len", "mean_sqrt_len_tokens"),
    (Pooling::WeightedMean, "weighted_mean", "weightedmean"),
    (Pooling::Last, "last", "lasttoken"),
];

/// The flag of an older `1_Pooling/config.json` for each, in the order of [`NAMES`].
const FLAGS: [&str; 6] = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
];

impl Pooling {
    /// The pooling with this name.
    pub fn parse(name: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, own, _)| *own == name);
        found.map(|(pooling, ..)| *pooling).ok_or_else(|| {
            let names: Vec<String> = NAMES.iter().map(|(_, name, _)| format!("{name:?}")).collect();
            Error::Value(format!("pooling={name:?}: expected one of {}", names.join(", ")))
        })
    }

    /// The pooling's name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(pooling, ..)| *pooling == self).map_or("words", |(_, name, _)| name)
    }

    /// Pools hidden states `[T, D]` to `[B, D]`, or to a row for each word.
    pub fn apply(self, hidden: &Var, batch: &PackedBatch) -> Result<Var> {
        let reduced = |reduction| segment_pool(hidden, batch.cu_seqlens.clone(), reduction);
        match self {
            Self::Mean => reduced(Reduction::Mean),
            Self::MeanSqrtLen => reduced(Reduction::MeanSqrtLen),
            Self::WeightedMean => reduced(Reduction::WeightedMean),
            Self::Max => reduced(Reduction::Max),
            Self::Cls => embedding(hidden, batch.first_tokens()),
            Self::Last => embedding(hidden, batch.last_tokens()),
            Self::Words => embedding(hidden, batch.words.clone()),
        }
    }

    /// Hidden states `[T, D]` pooled in each of `k` ways, side by side: `[B, k D]`.
    pub(crate) fn join(poolings: &[Self], hidden: &Var, batch: &PackedBatch) -> Result<Var> {
        let pooled = poolings.iter().map(|pooling| pooling.apply(hidden, batch)).collect::<Result<Vec<_>>>()?;
        side_by_side(&pooled)
    }

    /// Reads the configuration of sentence-transformers' `Pooling`: `pooling_mode` (6.x), else flags. Several are
    /// concatenated. `hidden_size` is the model's, if the two are known to belong together.
    pub(super) fn read(
        config: &serde_json::Value,
        hidden_size: Option<usize>,
    ) -> std::result::Result<Vec<Self>, String> {
        use serde_json::Value as Json;
        let fields = config.as_object().ok_or("expected an object")?;
        for (key, value) in fields.iter().filter(|(key, _)| key.starts_with("pooling_mode_")) {
            if !value.is_boolean() {
                return Err(format!("{key} is {value}; expected true or false"));
            }
            if !FLAGS.contains(&key.as_str()) && *value != Json::Bool(false) {
                return Err(format!("{key} is not supported"));
            }
        }
        let width = fields.get("embedding_dimension").or_else(|| fields.get("word_embedding_dimension"));
        if let Some((width, size)) = width.zip(hidden_size).filter(|(width, size)| width.as_u64() != Some(*size as u64))
        {
            return Err(format!("is for vectors of {width} values, the model has {size}"));
        }
        let by_name = |name: &Json| {
            let found = NAMES.iter().find(|(.., theirs)| name.as_str() == Some(theirs));
            let known: Vec<&str> = NAMES.iter().map(|(.., theirs)| *theirs).collect();
            found
                .map(|(pooling, ..)| *pooling)
                .ok_or_else(|| format!("pooling_mode is {name}; supported: {}", known.join(", ")))
        };
        let asked = match fields.get("pooling_mode") {
            Some(Json::Array(names)) if names.is_empty() => return Err("pooling_mode is an empty list".into()),
            Some(Json::Array(names)) => names.iter().map(by_name).collect::<std::result::Result<Vec<_>, _>>()?,
            Some(name) => vec![by_name(name)?],
            None => {
                let flagged = NAMES.iter().zip(FLAGS).filter(|(_, flag)| fields.get(*flag) == Some(&Json::Bool(true)));
                flagged.map(|((pooling, ..), _)| *pooling).collect()
            }
        };
        Ok(if asked.is_empty() { vec![Self::Mean] } else { asked })
    }

    /// The configuration that sentence-transformers 5 and 6 read: flags, which imply a fixed order; names if the order
    /// differs.
    pub(super) fn write(poolings: &[Self], hidden_size: usize) -> serde_json::Value {
        let asked = |flag: &Self| poolings.contains(flag);
        let in_order: Vec<Self> = NAMES.iter().map(|(pooling, ..)| *pooling).filter(asked).collect();
        if in_order != poolings {
            let theirs = |pooling: &Self| NAMES.iter().find(|(own, ..)| own == pooling).map(|(.., name)| *name);
            let names: Vec<&str> = poolings.iter().filter_map(theirs).collect();
            return serde_json::json!({"embedding_dimension": hidden_size, "pooling_mode": names, "include_prompt": true});
        }
        let mut config = serde_json::Map::from_iter([("word_embedding_dimension".to_string(), hidden_size.into())]);
        config.extend(NAMES.iter().zip(FLAGS).map(|((own, ..), flag)| (flag.to_string(), asked(own).into())));
        config.insert("include_prompt".into(), true.into());
        config.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn read_when_flags_or_names_are_given_has_them_in_their_order() -> std::result::Result<(), String> {
        let both = [Pooling::Cls, Pooling::Mean];
        let flags =
            json!({"word_embedding_dimension": 4, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true});
        assert_eq!(Pooling::read(&flags, Some(4))?, both);
        let names = json!({"embedding_dimension": 4, "pooling_mode": ["mean", "cls"]});
        assert_eq!(Pooling::read(&names, Some(4))?, [Pooling::Mean, Pooling::Cls]);
        assert_eq!(Pooling::read(&json!({"pooling_mode": "weightedmean"}), Some(4))?, [Pooling::WeightedMean]);
        assert_eq!(Pooling::read(&json!({}), Some(4))?, [Pooling::Mean]);
        for bad in [json!({"pooling_mode": "min"}), json!({"pooling_mode_x": true}), json!({"embedding_dimension": 5})]
        {
            assert!(Pooling::read(&bad, Some(4)).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn write_when_read_again_gives_the_same() -> std::result::Result<(), String> {
        let all: Vec<Pooling> = NAMES.iter().map(|(pooling, ..)| *pooling).collect();
        let rotated: Vec<Pooling> = all.iter().rev().copied().collect();
        for poolings in [&all[..], &all[2..3], &rotated] {
            assert_eq!(Pooling::read(&Pooling::write(poolings, 8), Some(8))?, poolings);
        }
        assert!(Pooling::write(&all, 8).get("pooling_mode").is_none());
        Ok(())
    }
}
