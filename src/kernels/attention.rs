//! Variable-length scaled dot-product attention over packed sequences.
//!
//! For each sequence and head: `P = softmax(Q K^T / sqrt(d))`, `O = dropout(P) V`. Shapes: `q, k, v, o [T, H * d]`,
//! `cu_seqlens [B + 1]`; tokens see the tokens of their own sequence. A task is one (sequence, head) and holds the scores
//! of a block of queries only. The op keeps the log-sum-exp of each row and computes `P` again backward
//! (FlashAttention, Dao et al. 2022): `dV = dropout(P)^T dO`, `dP = dropout(dO V^T)`, `dS = P (dP - rowsum(dO O))`,
//! `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::dropout::Dropout;
use super::math;
use super::product::{Operand, product};
use crate::autograd::{Op, Slot, Value};
use crate::compute::simd::vectorised;
use crate::compute::{tensor, uninit, values};
use crate::error::{Error, Result};

/// Queries whose scores are held at once.
const BLOCK: usize = 64;

/// Attention within each packed sequence: `q, k, v [T, heads * d]` to `[T, heads * d]`.
pub fn attention(
    q: &Value,
    k: &Value,
    v: &Value,
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<Dropout>,
) -> Result<Value> {
    let shapes = [q, k, v].map(|value| value.tensor().shape());
    let (t, width) = shapes[0].dims2()?;
    if shapes[1] != shapes[0] || shapes[2] != shapes[0] {
        return Err(Error::internal(format!("attention: got q, k, v of {shapes:?}")));
    }
    let scheme = Scheme { cu_seqlens, heads, dropout };
    let tasks = scheme.tasks(t, width)?;
    let (mut out, mut log_sum_exp) = (uninit(t * width), uninit(t * heads));
    {
        let (q, k, v) = (values(q.tensor())?, values(k.tensor())?, values(v.tensor())?);
        let (operands, outputs) = ([&*q, &*k, &*v], [&mut out, &mut log_sum_exp].map(|out| Shared(out.as_mut_ptr())));
        tasks.par_iter().for_each(|task| scheme.forward_task(task, operands, outputs, t));
    }
    let out = tensor(out, (t, width))?;
    Ok(Value::computed(out.clone(), &[q, k, v], Attention { scheme, log_sum_exp, out }))
}

struct Attention {
    scheme: Scheme,
    /// `[H, T]`
    log_sum_exp: Vec<f32>,
    out: Tensor,
}

/// What attends to what.
struct Scheme {
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<Dropout>,
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
type Output = Option<(Shared, bool)>;

/// A pointer that tasks share; each touches only the rows and columns of its own (sequence, head).
#[derive(Clone, Copy)]
struct Shared(*mut f32);
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

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

    /// `scores [rows, len] = scale * a_block b^T` for operands `[T, H * d]`.
    fn scores(&self, a: &[f32], b: &[f32], (row, rows): (usize, usize), scale: f32, scores: &mut [f32]) {
        debug_assert!(scores.len() >= rows * self.len);
        let size = [rows, self.len, self.head_size];
        // SAFETY: rows and columns of this task lie within `a` and `b`, which hold T rows of `width` values.
        unsafe {
            let a = Operand(a.as_ptr().add(self.offset(row)), self.width, 1);
            let b = Operand(b.as_ptr().add(self.offset(0)), 1, self.width);
            product(size, (scores.as_mut_ptr(), self.len), false, (a, b), scale, Parallelism::None);
        }
    }

    /// `out_block [rows, d] (+)= scale * scores [rows, len] values [len, d]`.
    fn combine(&self, scores: &[f32], values: &[f32], (row, rows): (usize, usize), scale: f32, out: Output) {
        let Some((out, add)) = out else { return };
        let size = [rows, self.head_size, self.len];
        let scores = Operand(scores.as_ptr(), self.len, 1);
        // SAFETY: as in `scores`; `out` is written at this task's rows and columns alone.
        unsafe {
            let values = Operand(values.as_ptr().add(self.offset(0)), self.width, 1);
            product(size, (out.at(self.offset(row)), self.width), add, (scores, values), scale, Parallelism::None);
        }
    }

    /// `out [len, d] += scale * scores [rows, len]^T values_block [rows, d]`; the first block overwrites unless told to add.
    fn accumulate(&self, scores: &[f32], values: &[f32], (row, rows): (usize, usize), scale: f32, out: Output) {
        let Some((out, add)) = out else { return };
        let size = [self.len, self.head_size, rows];
        let scores = Operand(scores.as_ptr(), 1, self.len);
        // SAFETY: as in `combine`.
        unsafe {
            let values = Operand(values.as_ptr().add(self.offset(row)), self.width, 1);
            product(
                size,
                (out.at(self.offset(0)), self.width),
                add || row > 0,
                (scores, values),
                scale,
                Parallelism::None,
            );
        }
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

    fn forward_task(&self, task: &Task, [q, k, v]: [&[f32]; 3], [out, log_sum_exp]: [Shared; 2], tokens: usize) {
        let scale = 1.0 / (task.head_size as f32).sqrt();
        with_scratch(BLOCK.min(task.len) * task.len, |p, _| {
            for block in task.blocks() {
                task.scores(q, k, block, scale, p);
                for i in 0..block.1 {
                    let row = &mut p[i * task.len..(i + 1) * task.len];
                    let lse = softmax(row, self.row_dropout(task, block.0 + i));
                    // SAFETY: [H, T], each entry belongs to one task.
                    unsafe { *log_sum_exp.at(task.head * tokens + task.first + block.0 + i) = lse };
                }
                task.combine(p, v, block, 1.0, Some((out, false)));
            }
        });
    }

    fn backward_task(
        &self,
        task: &Task,
        [q, k, v, out, grad]: [&[f32]; 5],
        [dq, dk, dv]: [Output; 3],
        log_sum_exp: &[f32],
    ) {
        let scale = 1.0 / (task.head_size as f32).sqrt();
        let tokens = log_sum_exp.len() / self.heads;
        with_scratch(BLOCK.min(task.len) * task.len, |p, dp| {
            for block in task.blocks() {
                task.scores(q, k, block, scale, p);
                task.scores(grad, v, block, 1.0, dp);
                for i in 0..block.1 {
                    let at = i * task.len..(i + 1) * task.len;
                    let (p, dp) = (&mut p[at.clone()], &mut dp[at]);
                    let row = block.0 + i;
                    let lse = log_sum_exp[task.head * tokens + task.first + row];
                    let (o, go) =
                        (&out[task.offset(row)..][..task.head_size], &grad[task.offset(row)..][..task.head_size]);
                    let dropout = self.row_dropout(task, row);
                    softmax_backward(p, dp, lse, o, go, dropout);
                }
                task.accumulate(p, grad, block, 1.0, dv);
                task.combine(dp, k, block, scale, dq);
                task.accumulate(dp, q, block, scale, dk);
            }
        });
    }
}

vectorised! {
    /// Softmax in place, then dropout; returns the log-sum-exp.
    fn softmax(row: &mut [f32], dropout: Option<Dropout>) -> f32 {
        let max = math::max(row);
        for x in row.iter_mut() {
            *x = math::exp(*x - max);
        }
        let sum = math::sum(row, |x| x);
        let inverse = 1.0 / sum;
        for x in row.iter_mut() {
            *x *= inverse;
        }
        if let Some(dropout) = dropout {
            dropout.for_each(0, row.len(), |j, factor| row[j] *= factor);
        }
        max + sum.ln()
    }
}

vectorised! {
    /// From scores and `dO V^T` of one query: `p` becomes `dropout(P)`, for `dV`, and `dp` becomes `dS`.
    fn softmax_backward(p: &mut [f32], dp: &mut [f32], lse: f32, out: &[f32], grad: &[f32], dropout: Option<Dropout>) {
        let delta = math::sum2(out, grad, |o, g| o * g);
        for p in p.iter_mut() {
            *p = math::exp(*p - lse);
        }
        match dropout {
            None => p.iter().zip(dp).for_each(|(p, dp)| *dp = p * (*dp - delta)),
            Some(dropout) => dropout.for_each(0, p.len(), |j, factor| {
                dp[j] = p[j] * dp[j].mul_add(factor, -delta);
                p[j] *= factor;
            }),
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
        let (q, k, v, out) = (values(q)?, values(k)?, values(v)?, values(&self.out)?);
        let operands = [&*q, &*k, &*v, &*out, &*gradient];
        // Tasks cover every row and column, so that a slot's fresh memory is overwritten, all of it.
        let outputs = [dq, dk, dv].map(|slot| slot.open().map(|(values, add)| (Shared(values.as_mut_ptr()), add)));
        tasks.par_iter().for_each(|task| self.scheme.backward_task(task, operands, outputs, &self.log_sum_exp));
        Ok(())
    }
}
