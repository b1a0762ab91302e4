//! Embedding lookup in one or several tables: `y[t] = sum over tables of table[ids[t]]`. Backward adds each row of `dy`
//! to the table rows it came from.
//!
//! Shapes: `table [V, D]`, `ids [T]`, `y [T, D]`. Also used to select rows of hidden states.

mod cpu;

use std::sync::Arc;

use crate::array::{Array, Values, rows_and_columns};
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};

/// Rows `ids` of `table [V, D]`: `[T, D]`. Returns an error for an id outside the table.
pub fn embedding(table: &Var, ids: Arc<[u32]>) -> Result<Var> {
    embedding_sum(&[(table, ids)])
}

/// Sum of embeddings from several tables `[V, D]`, each with its own ids `[T]`: `[T, D]`. Returns an error for an id
/// outside its table.
pub fn embedding_sum(lookups: &[(&Var, Arc<[u32]>)]) -> Result<Var> {
    let (tables, ids): (Vec<&Var>, Vec<Arc<[u32]>>) = lookups.iter().cloned().unzip();
    let (t, d) = check(&tables, &ids)?;
    let sources = tables.iter().map(|table| table.array().values()).collect::<Result<Vec<Values>>>()?;
    let sources: Vec<(&[f32], &[u32])> = sources.iter().zip(&ids).map(|(table, ids)| (&**table, &**ids)).collect();
    let out = cpu::sum_of_rows(&sources, t, d);
    Ok(Var::computed(Array::new(out, (t, d))?, &tables, Embedding { ids }))
}

/// Rows of several tables `[.., D]`, numbered as if the tables were concatenated: `[T, D]`. Returns an error for a row
/// outside them.
pub fn stacked_rows(tables: &[&Var], rows: Arc<[u32]>) -> Result<Var> {
    let shape = |table: &&Var| rows_and_columns("stacked rows", table.array().shape());
    let shapes = tables.iter().map(shape).collect::<Result<Vec<_>>>()?;
    let (total, d) = (shapes.iter().map(|(v, _)| v).sum::<usize>(), shapes.first().map_or(0, |(_, d)| *d));
    if d == 0 || shapes.iter().any(|(_, columns)| *columns != d) || rows.iter().any(|&row| row as usize >= total) {
        return Err(Error::internal(format!(
            "stacked rows: got tables {shapes:?} and rows up to {:?}",
            rows.iter().max()
        )));
    }
    let sources = tables.iter().map(|table| table.array().values()).collect::<Result<Vec<Values>>>()?;
    let out = cpu::stacked_rows(&sources.iter().map(|values| &**values).collect::<Vec<_>>(), &rows, d);
    let out = Array::new(out, (rows.len(), d))?;
    drop(sources);
    Ok(Var::computed(out, tables, StackedRows { rows }))
}

/// Checks the shapes and returns `T` and `D`.
fn check(tables: &[&Var], ids: &[Arc<[u32]>]) -> Result<(usize, usize)> {
    let (Some(first), Some(table)) = (ids.first(), tables.first()) else {
        return Err(Error::internal("embedding: no tables"));
    };
    let (t, d) = (first.len(), table.array().dims2()?.1);
    for (table, ids) in tables.iter().zip(ids) {
        let (v, columns) = table.array().dims2()?;
        if ids.len() != t || columns != d || d == 0 {
            let n = ids.len();
            return Err(Error::internal(format!(
                "embedding: got {n} ids for a table [{v}, {columns}], expected {t} and [_, {d}]"
            )));
        }
        if let Some((t, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= v) {
            return Err(Error::internal(format!("embedding: got id {id} at position {t}, the table has {v} rows")));
        }
    }
    Ok((t, d))
}

struct Embedding {
    /// Ids `[T]` for each table.
    ids: Vec<Arc<[u32]>>,
}

// SAFETY: a piece is cleared when it is marked as written, before rows are added to it.
unsafe impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn backward(&self, inputs: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let dy = dy.values()?;
        for ((table, ids), slot) in inputs.iter().zip(&self.ids).zip(into) {
            let (v, d) = table.dims2()?;
            slot.write_pieces(|sum, written| cpu::scatter(&dy, ids, 0, [v, d], sum, written))?;
        }
        Ok(())
    }
}

struct StackedRows {
    rows: Arc<[u32]>,
}

// SAFETY: a piece is cleared when it is marked as written, before rows are added to it.
unsafe impl Op for StackedRows {
    fn name(&self) -> &'static str {
        "stacked rows"
    }

    fn backward(&self, inputs: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let dy = dy.values()?;
        let mut first = 0;
        for (table, slot) in inputs.iter().zip(into) {
            let (v, d) = rows_and_columns(self.name(), table.shape())?;
            slot.write_pieces(|sum, written| cpu::scatter(&dy, &self.rows, first, [v, d], sum, written))?;
            first += v;
        }
        Ok(())
    }
}
