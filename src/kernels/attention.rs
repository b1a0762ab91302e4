//! Variable-length scaled dot-product attention over packed sequences.
//!
//! For each sequence and head: `P = softmax(Q K^T / sqrt(d))`, `O = dropout(P) V`. Shapes: `q, k, v, o [T, H * d]`,
//! `cu_seqlens [B + 1]`; tokens see the tokens of their own sequence. A task is one (sequence, head) and holds the scores
//! of a block of queries only. The op keeps the log-sum-exp of each row and computes `P` again backward
//! (FlashAttention, Dao et al. 2022): `dV = dropout(P)^T dO`, `dP = dropout(dO V^T)`, `dS = P (dP - rowsum(P dP))`,
//! `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::dropout::Dropout;
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, Elements, SharedBuffer, SharedSlice, operand, uninit};
use crate::error::{Error, Result};
use crate::product::{Format, Lines, Output, Packed, Precision, TASK_ROWS, product_here};

/// Queries whose scores are held at once.
const BLOCK: usize = TASK_ROWS;

/// Attention within each packed sequence: `q, k, v [T, heads * d]` to `[T, heads * d]`; each f32 or bf16.
pub fn attention(
    q: &Value,
    k: &Value,
    v: &Value,
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<Dropout>,
    format: impl Into<Format>,
) -> Result<Value> {
    let Format { precision, result } = format.into();
    let shapes = [q, k, v].map(|value| value.tensor().shape());
    let (t, width) = shapes[0].dims2()?;
    if shapes[1] != shapes[0] || shapes[2] != shapes[0] {
        return Err(Error::internal(format!("attention: got q, k, v of {shapes:?}")));
    }
    let scheme = Scheme { cu_seqlens, heads, dropout, precision };
    let tasks = scheme.tasks(t, width)?;
    let (mut out, mut log_sum_exp) = (Buffer::uninit(result, t * width), uninit(t * heads));
    {
        let (q, k, v) = (operand(q.tensor())?, operand(k.tensor())?, operand(v.tensor())?);
        let operands = [&q, &k, &v].map(Elements::from);
        let (out, lse) = (out.shared(), SharedSlice::new(&mut log_sum_exp));
        tasks.par_iter().for_each(|task| scheme.forward_task(task, operands, out, lse, t));
    }
    Ok(Value::computed(out.into_tensor((t, width))?, &[q, k, v], Attention { scheme, log_sum_exp }))
}

struct Attention {
    scheme: Scheme,
    /// `[H, T]`
    log_sum_exp: Vec<f32>,
}

/// What attends to what.
struct Scheme {
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<Dropout>,
    precision: Precision,
}

/// One sequence and head: where its rows and columns lie.
#[derive(Clone, Copy)]
struct Task {
    first: usize,
    len: usize,
    head: usize,
    width: usize,
    head_size: usize,
}

/// A gradient that tasks write: whether they add to what is there. None is not asked for.
type Gradient<'a> = Option<(SharedSlice<'a>, bool)>;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Two scratch areas of `len` values, kept by the thread.
fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32], &mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < 2 * len {
            scratch.resize(2 * len, 0.0);
        }
        let (a, b) = scratch.split_at_mut(len);
        f(a, &mut b[..len])
    })
}

impl Task {
    fn offset(&self, row: usize) -> usize {
        (self.first + row) * self.width + self.head * self.head_size
    }

    /// Blocks of queries: first row and number of rows.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.len).step_by(BLOCK).map(move |row| (row, BLOCK.min(self.len - row)))
    }

    /// `rows` of this task from `row` on, of values `[T, H * d]`.
    fn rows<'a>(&self, values: Elements<'a>, row: usize, rows: usize) -> Lines<'a> {
        let values = values.range(self.offset(row)..values.len());
        Lines { values, count: rows, depth: self.head_size, line_stride: self.width, depth_stride: 1 }
    }

    /// The columns of the same.
    fn columns<'a>(&self, values: Elements<'a>, row: usize, rows: usize) -> Lines<'a> {
        let values = values.range(self.offset(row)..values.len());
        Lines { values, count: self.head_size, depth: rows, line_stride: 1, depth_stride: self.width }
    }

    /// This task's rows of `[T, H * d]` from `row` on.
    fn output<'a>(&self, out: SharedSlice<'a>, row: usize, add: bool) -> Output<'a> {
        // SAFETY: products write this task's rows and columns alone.
        unsafe { Output::from_raw(out.at(self.offset(row)), self.width, add) }
    }
}

impl Scheme {
    fn tasks(&self, tokens: usize, width: usize) -> Result<Vec<Task>> {
        let last = self.cu_seqlens.last().copied().unwrap_or(0) as usize;
        if self.heads == 0
            || !width.is_multiple_of(self.heads)
            || last != tokens
            || !self.cu_seqlens.is_sorted()
            || self.cu_seqlens[0] != 0
        {
            let (heads, sequences) = (self.heads, &self.cu_seqlens);
            return Err(Error::internal(format!(
                "attention: got {tokens} tokens of width {width}, {heads} heads, sequences {sequences:?}"
            )));
        }
        let head_size = width / self.heads;
        Ok(self
            .cu_seqlens
            .windows(2)
            .flat_map(|w| {
                let (first, len) = (w[0] as usize, (w[1] - w[0]) as usize);
                (0..self.heads).map(move |head| Task { first, len, head, width, head_size })
            })
            .filter(|task| task.len > 0)
            .collect())
    }

    /// The dropout of one row of probabilities: a key of its own for each query and head.
    fn row_dropout(&self, task: &Task, row: usize) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.child(((task.first + row) * self.heads + task.head) as u64))
    }

    fn pack(&self, columns: Lines) -> Packed {
        Packed::new(columns, self.precision)
    }

    fn forward_task(
        &self,
        task: &Task,
        [q, k, v]: [Elements; 3],
        out: SharedBuffer,
        log_sum_exp: SharedSlice,
        tokens: usize,
    ) {
        let scale = 1.0 / (task.head_size as f32).sqrt();
        let len = task.len;
        let (keys, values) = (self.pack(task.rows(k, 0, len)), self.pack(task.columns(v, 0, len)));
        with_scratch(BLOCK.min(len) * len, |p, _| {
            for (row, rows) in task.blocks() {
                let inverses = [const { Cell::new(0.0) }; BLOCK];
                product_here(task.rows(q, row, rows), &keys, Output::new(p, len, false), |i, p| {
                    let (max, sum) = exponentials(p, scale, self.row_dropout(task, row + i));
                    inverses[i].set(1.0 / sum);
                    // SAFETY: [H, T], each entry belongs to one task.
                    unsafe { *log_sum_exp.at(task.head * tokens + task.first + row + i) = max + sum.ln() };
                });
                let attended = Lines::rows(&*p, rows, len);
                product_here(attended, &values, Output::lent(), |i, attended| {
                    for x in attended.iter_mut() {
                        *x *= inverses[i].get();
                    }
                    // SAFETY: this task's rows and columns alone.
                    unsafe { out.copy_from(task.offset(row + i), attended) };
                });
            }
        });
    }

    fn backward_task(
        &self,
        task: &Task,
        [q, k, v]: [Elements; 3],
        grad: &[f32],
        [dq, dk, dv]: [Gradient; 3],
        log_sum_exp: &[f32],
    ) {
        let scale = 1.0 / (task.head_size as f32).sqrt();
        let len = task.len;
        let lse = &log_sum_exp[task.head * log_sum_exp.len() / self.heads + task.first..];
        let (keys, values) = (self.pack(task.rows(k, 0, len)), self.pack(task.rows(v, 0, len)));
        let key_columns = dq.map(|_| self.pack(task.columns(k, 0, len)));
        with_scratch(BLOCK.min(len) * len, |p, dp| {
            for (row, rows) in task.blocks() {
                product_here(task.rows(q, row, rows), &keys, Output::new(p, len, false), |_, _| {});
                product_here(task.rows(grad.into(), row, rows), &values, Output::new(dp, len, false), |_, _| {});
                for (i, (p, dp)) in p.chunks_exact_mut(len).zip(dp.chunks_exact_mut(len)).take(rows).enumerate() {
                    softmax_backward(p, dp, scale, lse[row + i], self.row_dropout(task, row + i));
                }
                // The gradients of keys and values are sums over the blocks.
                if let Some((dv, add)) = dv {
                    let grad = self.pack(task.columns(grad.into(), row, rows));
                    product_here(Lines::columns(&*p, len, rows), &grad, task.output(dv, 0, add || row > 0), |_, _| {});
                }
                if let (Some((dq, add)), Some(keys)) = (dq, &key_columns) {
                    product_here(Lines::rows(&*dp, rows, len), keys, task.output(dq, row, add), |_, _| {});
                }
                if let Some((dk, add)) = dk {
                    let queries = self.pack(task.columns(q, row, rows));
                    product_here(
                        Lines::columns(&*dp, len, rows),
                        &queries,
                        task.output(dk, 0, add || row > 0),
                        |_, _| {},
                    );
                }
            }
        });
    }
}

vectorised! {
    /// Exponentials of the scaled scores less the largest, in place; the largest, and their sum before dropout.
    fn exponentials(row: &mut [f32], scale: f32, dropout: Option<Dropout>) -> (f32, f32) {
        let max = math::max(row, |x| x * scale);
        let sum = math::map_sum(row, |x| math::exp(x.mul_add(scale, -max)));
        if let Some(dropout) = dropout {
            dropout.for_each(0, row.len(), |j, factor| row[j] *= factor);
        }
        (max, sum)
    }
}

vectorised! {
    /// From scores and `dO V^T` of one query: `p` becomes `dropout(P)`, for `dV`, and `dp` becomes `dS`, scaled. The row's sum
    /// is taken of `P dP`, of which products in bf16 make the same error as of `dP`, so that it falls out of the difference.
    fn softmax_backward(p: &mut [f32], dp: &mut [f32], scale: f32, lse: f32, dropout: Option<Dropout>) {
        for p in p.iter_mut() {
            *p = math::exp(p.mul_add(scale, -lse));
        }
        if let Some(dropout) = dropout {
            dropout.for_each(0, dp.len(), |j, factor| dp[j] *= factor);
        }
        let sum = math::sum2(p, dp, |p, dp| p * dp);
        p.iter().zip(dp).for_each(|(p, dp)| *dp = p * scale * (*dp - sum));
        if let Some(dropout) = dropout {
            dropout.for_each(0, p.len(), |j, factor| p[j] *= factor);
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, inputs: &[&Tensor], gradient: Vec<f32>, into: &mut [Slot]) -> Result<()> {
        let (&[q, k, v], [dq, dk, dv]) = (inputs, into) else {
            return Err(Error::internal("got other than three inputs"));
        };
        let (t, width) = q.dims2()?;
        let tasks = self.scheme.tasks(t, width)?;
        let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
        let operands = [&q, &k, &v].map(Elements::from);
        // Tasks cover every row and column, so that a slot's fresh memory is overwritten, all of it.
        let outputs = [dq, dk, dv].map(|slot| slot.open().map(|(values, add)| (SharedSlice::new(values), add)));
        tasks
            .par_iter()
            .for_each(|task| self.scheme.backward_task(task, operands, &gradient, outputs, &self.log_sum_exp));
        Ok(())
    }
}
