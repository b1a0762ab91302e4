//! Concatenation of matrices along the last dimension.
//!
//! Shapes: `x_i [B, D_i]`, `y [B, D_1 + ... + D_n]`. Backward: each input gets its columns of `dy`.

mod cpu;

use crate::array::Array;
use crate::autograd::{Op, Slot, Var};
use crate::error::{Error, Result};

/// Concatenates matrices `[B, D_i]` to `[B, D_1 + ... + D_n]`. A single matrix is returned unchanged.
pub fn side_by_side(parts: &[Var]) -> Result<Var> {
    if let [one] = parts {
        return Ok(one.clone());
    }
    let sizes = parts.iter().map(|part| part.array().dims2()).collect::<Result<Vec<_>>>()?;
    let (rows, width) = (sizes.first().map_or(0, |(rows, _)| *rows), sizes.iter().map(|(_, width)| width).sum());
    if parts.is_empty() || width == 0 || sizes.iter().any(|(other, _)| *other != rows) {
        return Err(Error::internal(format!("side by side: got matrices of {sizes:?}")));
    }
    let mut y = vec![0f32; rows * width];
    let mut at = 0;
    for (part, (_, columns)) in parts.iter().zip(&sizes) {
        cpu::put_columns(&part.array().values()?, *columns, at, &mut y, width);
        at += columns;
    }
    let columns = sizes.into_iter().map(|(_, columns)| columns).collect();
    Ok(Var::computed(Array::new(y, (rows, width))?, &parts.iter().collect::<Vec<_>>(), SideBySide { columns }))
}

struct SideBySide {
    columns: Vec<usize>,
}

// SAFETY: gradients that are not added to are written completely.
unsafe impl Op for SideBySide {
    fn name(&self) -> &'static str {
        "side by side"
    }

    fn backward(&self, _: &[&Array], dy: Array, into: &mut [Slot]) -> Result<()> {
        let dy = dy.values()?;
        let width: usize = self.columns.iter().sum();
        let mut at = 0;
        for (slot, &columns) in into.iter_mut().zip(&self.columns) {
            slot.write(|dx, add| cpu::take_columns(&dy, width, at, dx, columns, add))?;
            at += columns;
        }
        Ok(())
    }
}
