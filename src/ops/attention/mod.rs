//! Variable-length scaled dot-product attention over packed sequences.
//!
//! For each sequence and head: `P = softmax(Q K^T / sqrt(d))`, `O = dropout(P) V`, where a query sees the keys of its span and
//! `Q` and `K` may be turned by their position. A task is one sequence and head of keys, with the heads of queries that use it,
//! and holds the scores of a block of queries and the keys that one of them sees. The op keeps the log-sum-exp of each row and
//! computes `P` again backward (FlashAttention, Dao et al. 2022): `dV = dropout(P)^T dO`, `dP = dropout(dO V^T)`,
//! `dS = P (dP - rowsum(P dP))`, `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`. What is turned is turned again backward,
//! and `dQ` and `dK` back.

mod cached;
mod relations;
mod relative;
mod relative_task;
mod scheme;

use std::cell::{Cell, RefCell};
use std::ops::Range;

use rayon::prelude::*;

use super::dropout::Dropout;
use crate::array::Array;
use crate::autograd::{Op, Slot, Value};
use crate::compute::math;
use crate::compute::simd::vectorised;
use crate::compute::{Buffer, Elements, SharedBuffer, SharedSlice, uninit};
use crate::error::{Error, Result};
use crate::product::{Format, Lines, Output, Packed, Precision, product_here};
pub use cached::{Cache, Step};
pub use relations::{Permutation, Relations};
pub use relative::{RelativeInputs, RelativeScheme, relative_attention};
use scheme::{BLOCK, Head, Rows};
pub use scheme::{Scheme, Span};

/// Attention within each packed sequence: `q [T, heads * d]`, `k, v [T, key_heads * d]` to `[T, heads * d]`; each f32 or bf16.
pub fn attention(q: &Value, k: &Value, v: &Value, scheme: Scheme, format: impl Into<Format>) -> Result<Value> {
    let Format { precision, result } = format.into();
    let tasks = scheme.tasks(shapes([q, k, v].map(Value::array))?)?;
    let (t, width) = q.array().dims2()?;
    // SAFETY: there is a task for each head of each sequence, and it writes their queries.
    let (mut out, mut log_sum_exp) = unsafe { (Buffer::uninit(result, t * width), uninit(t * scheme.heads)) };
    let kernel = Kernel { scheme, precision };
    {
        let (q, k, v) = (q.array().operand()?, k.array().operand()?, v.array().operand()?);
        let operands = [&q, &k, &v].map(Elements::from);
        let (out, lse) = (out.shared(), SharedSlice::new(&mut log_sum_exp));
        tasks.par_iter().for_each(|key| kernel.forward_task(key, operands, out, lse, t));
    }
    Ok(Value::computed(Array::from_buffer(out, (t, width))?, &[q, k, v], Attention { kernel, log_sum_exp }))
}

fn shapes(arrays: [&Array; 3]) -> Result<[(usize, usize); 3]> {
    let [q, k, v] = arrays.map(Array::dims2);
    Ok([q?, k?, v?])
}

struct Attention {
    kernel: Kernel,
    /// `[H, T]`
    log_sum_exp: Vec<f32>,
}

struct Kernel {
    scheme: Scheme,
    precision: Precision,
}

/// A gradient that tasks write: whether they add to what is there. None is not asked for.
type Gradient<'a> = Option<(SharedSlice<'a>, bool)>;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Scratch areas of so many values, kept by the thread. While they are held it must not wait for other threads: it would
/// take up another task.
fn with_scratch<const N: usize>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N])) {
    SCRATCH.with_borrow_mut(|scratch| {
        let len = lens.iter().sum();
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        let mut rest = scratch.as_mut_slice();
        f(lens.map(|len| {
            let (area, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            area
        }));
    });
}

impl Kernel {
    fn pack(&self, columns: Lines) -> Packed {
        Packed::new_here(columns, self.precision)
    }

    /// Rows from `first` on as scores are made of them: turned by their positions, through `scratch`, or as they are.
    fn turned<'a>(&self, rows: Lines<'a>, first: usize, scratch: &'a mut [f32]) -> Lines<'a> {
        match &self.scheme.rotary {
            Some(rotary) => rotary.forward(&rows, first, scratch),
            None => rows,
        }
    }

    /// Values of scratch memory for the scores of a block, and for `turned` of its queries and of all keys.
    fn scratch(&self, key: &Head) -> (usize, usize, usize) {
        let (rows, size) = (BLOCK.min(key.len), if self.scheme.rotary.is_some() { key.size } else { 0 });
        (rows * key.len, rows * size, key.len * size)
    }

    fn forward_task(
        &self,
        key: &Head,
        [q, k, v]: [Elements; 3],
        out: SharedBuffer,
        log_sum_exp: SharedSlice,
        tokens: usize,
    ) {
        let (scheme, len, scale) = (&self.scheme, key.len, 1.0 / (key.size as f32).sqrt());
        let (scores, queries, keys) = self.scratch(key);
        with_scratch([scores, queries, keys], |[p, queries, keys]| {
            let keys = self.pack(self.turned(key.rows(k, 0, len), 0, keys));
            let values = self.pack(key.rows(v, 0, len).transposed());
            for (head, block) in scheme.queries(key).flat_map(|head| scheme.blocks(len).map(move |block| (head, block)))
            {
                let (row, rows, width) = (block.row, block.rows, block.keys.len());
                let inverses = [const { Cell::new(0.0) }; BLOCK];
                let queries = self.turned(head.rows(q, row, rows), row, queries);
                product_here(queries, keys.columns(block.keys.clone()), Output::new(p, width, false), |i, p| {
                    let seen = scheme.span.keys(row + i, 1, len);
                    let p = keep(p, &seen, block.keys.start);
                    let (max, sum) = exponentials(p, scale, scheme.row_dropout(&head, row + i), seen.start);
                    inverses[i].set(1.0 / sum);
                    // SAFETY: [H, T], each entry belongs to one task.
                    unsafe { *log_sum_exp.at(head.index * tokens + head.first + row + i) = max + sum.ln() };
                });
                let attended = Lines::rows(&*p, rows, width);
                let normalise = |i: usize, attended: &mut [f32]| {
                    for x in attended {
                        *x *= inverses[i].get();
                    }
                };
                // SAFETY: a task writes its own sequence and head alone.
                unsafe { head.product(attended, values.depths(block.keys), out, row, normalise) };
            }
        });
    }

    fn backward_task(
        &self,
        key: &Head,
        [q, k, v]: [Elements; 3],
        grad: &[f32],
        [dq, dk, dv]: [Gradient; 3],
        log_sum_exp: &[f32],
    ) {
        let (scheme, len, scale) = (&self.scheme, key.len, 1.0 / (key.size as f32).sqrt());
        let tokens = log_sum_exp.len() / scheme.heads;
        let (scores, queries, keys) = self.scratch(key);
        with_scratch([scores, scores, queries, keys, keys], |[p, dp, queries, keys, turned_dk]| {
            let rows = self.turned(key.rows(k, 0, len), 0, keys);
            let (keys, values) = (self.pack(rows), self.pack(key.rows(v, 0, len)));
            let key_columns = dq.map(|_| self.pack(rows.transposed()));
            // SAFETY: a task writes its own sequence and head alone.
            let dv = dv.map(|dv| unsafe { key.part(dv) });
            let dk_sum = dk.map(|dk| match scheme.rotary {
                Some(_) => Rows::of(turned_dk, key.size),
                // SAFETY: a task writes its own sequence and head alone.
                None => unsafe { key.part(dk) },
            });
            // Keys whose gradients hold the sums of queries before.
            let mut begun = 0;
            for (head, block) in scheme.queries(key).flat_map(|head| scheme.blocks(len).map(move |block| (head, block)))
            {
                let (row, rows, width) = (block.row, block.rows, block.keys.len());
                let queries = self.turned(head.rows(q, row, rows), row, queries);
                let grad = head.rows(grad.into(), row, rows);
                product_here(queries, keys.columns(block.keys.clone()), Output::new(p, width, false), |_, _| {});
                product_here(grad, values.columns(block.keys.clone()), Output::new(dp, width, false), |_, _| {});
                let lse = &log_sum_exp[head.index * tokens + head.first + row..];
                for (i, (p, dp)) in p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width)).take(rows).enumerate() {
                    let seen = scheme.span.keys(row + i, 1, len);
                    let (p, dp) = (keep(p, &seen, block.keys.start), keep(dp, &seen, block.keys.start));
                    softmax_backward(p, dp, scale, lse[i], scheme.row_dropout(&head, row + i), seen.start);
                }
                if let Some(dv) = dv {
                    add_to_keys(p, &self.pack(grad.transposed()), &block.keys, begun, dv);
                }
                if let (Some(dq), Some(keys)) = (dq, &key_columns) {
                    // SAFETY: a task writes its own sequence and head alone.
                    let (dq, keys) = (unsafe { head.part(dq) }, keys.depths(block.keys.clone()));
                    let ds = Lines::rows(&*dp, rows, width);
                    match &scheme.rotary {
                        Some(rotary) => product_here(ds, keys, Output::lent(), |i, turned| {
                            rotary.backward(row + i, turned);
                            dq.put(row + i, turned);
                        }),
                        None => product_here(ds, keys, dq.output(row, false), |_, _| {}),
                    }
                }
                if let Some(dk) = dk_sum {
                    add_to_keys(dp, &self.pack(queries.transposed()), &block.keys, begun, dk);
                }
                begun = begun.max(block.keys.end);
            }
            if let (Some(rotary), Some(dk)) = (&scheme.rotary, dk) {
                // SAFETY: a task writes its own sequence and head alone.
                let dk = unsafe { key.part(dk) };
                for (row, turned) in turned_dk.chunks_exact_mut(key.size).take(len).enumerate() {
                    rotary.backward(row, turned);
                    dk.put(row, turned);
                }
            }
        });
    }
}

/// The part of a row of scores that its query sees, of keys that begin at `first`; the probability of the others is zero.
fn keep<'a>(row: &'a mut [f32], seen: &Range<usize>, first: usize) -> &'a mut [f32] {
    let (start, end) = (seen.start - first, seen.end - first);
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    &mut row[start..end]
}

/// `scores^T B` for a block's scores `[rows, keys]` and `B [rows, d]`: added to the sums of the keys before `begun`, the first
/// term for the others.
fn add_to_keys(scores: &[f32], b: &Packed, keys: &Range<usize>, begun: usize, sums: Rows) {
    let begun = begun.clamp(keys.start, keys.end);
    let ([_, rows], width) = (b.shape(), keys.len());
    for (keys_of, add) in [(keys.start..begun, true), (begun..keys.end, false)] {
        if !keys_of.is_empty() {
            let values = scores[keys_of.start - keys.start..].into();
            let lines = Lines { values, count: keys_of.len(), depth: rows, line_stride: 1, depth_stride: width };
            product_here(lines, b.whole(), sums.output(keys_of.start, add), |_, _| {});
        }
    }
}

vectorised! {
    /// Exponentials of the scaled scores less the largest, in place; the largest, and their sum before dropout. Keys begin at
    /// `first`.
    fn exponentials(row: &mut [f32], scale: f32, dropout: Option<Dropout>, first: usize) -> (f32, f32) {
        let max = math::max(row, |x| x) * scale;
        let sum = math::map_sum(row, |x| math::exp_small(x.mul_add(scale, -max)));
        if let Some(dropout) = dropout {
            for (piece, factors) in dropout.factors(first, row.len()) {
                row[piece].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            }
        }
        (max, sum)
    }
}

vectorised! {
    /// From scores and `dO V^T` of one query: `p` becomes `dropout(P)`, for `dV`, and `dp` becomes `dS`, scaled. The row's sum
    /// is taken of `P dP`, of which products in bf16 make the same error as of `dP`, so that it falls out of the difference.
    fn softmax_backward(p: &mut [f32], dp: &mut [f32], scale: f32, lse: f32, dropout: Option<Dropout>, first: usize) {
        for p in p.iter_mut() {
            *p = math::exp_small(p.mul_add(scale, -lse));
        }
        // A probability is not negative: its sign keeps until the sum is known that it is dropped.
        if let Some(dropout) = dropout {
            for (piece, factors) in dropout.factors(first, p.len()) {
                for ((p, dp), factor) in p[piece.clone()].iter_mut().zip(&mut dp[piece]).zip(factors) {
                    *p = if factor == 0.0 { -*p } else { *p };
                    *dp *= factor;
                }
            }
        }
        let sum = math::sum2(p, dp, |p, dp| p * dp);
        let kept = dropout.map_or(1.0, |dropout| dropout.scale());
        for (p, dp) in p.iter_mut().zip(dp) {
            *dp = p.abs() * scale * (*dp - sum);
            *p = if *p < 0.0 { 0.0 } else { *p * kept };
        }
    }
}

// SAFETY: what is not added to is written, all of it.
unsafe impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, inputs: &[&Array], gradient: Array, into: &mut [Slot]) -> Result<()> {
        let (&[q, k, v], [dq, dk, dv]) = (inputs, into) else {
            return Err(Error::internal("got other than three inputs"));
        };
        let tasks = self.kernel.scheme.tasks(shapes([q, k, v])?)?;
        let (q, k, v) = (q.operand()?, k.operand()?, v.operand()?);
        let operands = [&q, &k, &v].map(Elements::from);
        // Tasks cover every row and column, so that a slot's fresh memory is overwritten, all of it.
        let open = |slot| Ok::<_, Error>(Slot::open(slot)?.map(|(values, add)| (SharedSlice::new(values), add)));
        let (outputs, gradient) = ([open(dq)?, open(dk)?, open(dv)?], gradient.values()?);
        tasks
            .par_iter()
            .for_each(|key| self.kernel.backward_task(key, operands, &gradient, outputs, &self.log_sum_exp));
        Ok(())
    }
}
