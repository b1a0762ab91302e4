//! A backbone with a larger vocabulary.

use super::config::Config;
use super::pretrained::Backbone;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::text::Extension;

impl Backbone {
    /// A copy with the new tokens: each new row is the mean of its pieces' rows; `vocab_size` grows as needed.
    pub fn extended(&self, extension: Extension) -> Result<Self> {
        let old_size = self.config.vocab_size;
        let needed = extension.rows.iter().map(|(id, _)| *id as usize + 1).max().unwrap_or(0);
        let size = old_size.max(needed);
        let name = format!("{}.weight", self.config.family.names.word_embeddings);
        let old = self.params.get(&name)?;
        let width = old.dims2()?.1;
        let old = old.values()?;
        let mut new = old.to_vec();
        new.resize(size * width, 0.0);
        // Tokens that only the tokenizer knew start as the mean of all rows.
        for id in (old_size..size).filter(|&id| extension.rows.iter().all(|(new, _)| *new as usize != id)) {
            let row = &mut new[id * width..][..width];
            old.chunks_exact(width.max(1)).for_each(|old| {
                row.iter_mut().zip(old).for_each(|(sum, value)| *sum += value / old_size as f32);
            });
        }
        for (id, pieces) in &extension.rows {
            let row = &mut new[*id as usize * width..][..width];
            row.fill(0.0);
            for piece in pieces {
                let piece = old
                    .get(*piece as usize * width..(*piece as usize + 1) * width)
                    .ok_or_else(|| Error::Data(format!("{name} has no row {piece}, which the tokenizer gives")))?;
                row.iter_mut().zip(piece).for_each(|(sum, value)| *sum += value / pieces.len() as f32);
            }
        }
        let mut params = self.params.clone();
        params.replace(&name, Array::new(new, (size, width))?)?;
        let mut raw = self.config.raw.clone();
        raw.insert("vocab_size".into(), size.into());
        let config = serde_json::to_string(&raw).map_err(|e| Error::Value(format!("config.json: {e}")))?;
        let source = format!("{} with {} new tokens", self.source, extension.rows.len());
        Self::assemble(
            Config::of_directory(&config, &extension.files)?,
            params,
            extension.files,
            (*self.report).clone(),
            source,
        )
    }
}
