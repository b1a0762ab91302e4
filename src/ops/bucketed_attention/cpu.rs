//! Attention with relative position terms on the CPU. A task is one head: of one sequence forward, of all sequences
//! backward.

use rayon::prelude::*;

use super::buckets::Rows;
use super::operands::Inputs;
use super::scheme::BucketedScheme;
use crate::compute::{Buffer, Elements, SharedBuffer, SharedSlice, StorageDtype, uninit};
use crate::matmul::{MatrixView, Output, Packed, Precision, matmul_on_this_thread};
use crate::ops::attention::head::{BLOCK, Head};
use crate::ops::attention::scratch::with_scratch;
use crate::ops::attention::softmax::{exponentials, softmax_backward};
use crate::ops::dropout::Dropout;

/// An output gradient that tasks write, and whether they add to it; None if it is not needed.
type Gradient<'a> = Option<(SharedSlice<'a>, bool)>;

/// Settings shared by all tasks.
pub(super) struct Kernel<'a> {
    pub scheme: &'a BucketedScheme,
    pub precision: Precision,
}

/// One head of one sequence: its tokens, the table rows it uses, and its packed operands.
struct Sequence<'a> {
    tokens: Head,
    rows: Rows,
    /// Location of this head's columns in the relative position tables.
    table: Head,
    keys: Packed,
    values: Packed,
    position_keys: Option<Packed>,
    position_queries: Option<Packed>,
    /// Bias of each table row, divided by the scale, because it is scaled along with the products.
    bias: Option<Vec<f32>>,
    q: Elements<'a>,
}

impl Kernel<'_> {
    /// Returns the output `[T, H * d]`, and the log-sum-exp of each row of scores, `[H, T]`.
    ///
    /// # Safety
    ///
    /// The operands fit the scheme, see [`BucketedScheme::check`].
    pub unsafe fn forward(&self, operands: &Inputs<Elements>, dtype: StorageDtype) -> (Buffer, Vec<f32>) {
        let (len, heads) = (operands.qkv[0].len(), self.scheme.heads);
        let tokens = self.tokens();
        // SAFETY: there is a task for each head of each sequence, and it writes the rows of that head's queries.
        let (mut out, mut log_sum_exp) = unsafe { (Buffer::uninit(dtype, len), uninit(tokens * heads)) };
        let (shared, lse) = (out.shared(), SharedSlice::new(&mut log_sum_exp));
        let tasks: Vec<Head> =
            (0..heads).flat_map(|head| self.heads_of(head, len)).filter(|tokens| tokens.len > 0).collect();
        tasks.into_par_iter().for_each(|tokens| self.forward_task(tokens, operands, shared, lse));
        (out, log_sum_exp)
    }

    /// Computes the gradients that are needed; each is completely overwritten, or added to. A task is a head, which
    /// processes its sequences in order, because they share the gradients of the relative position tables.
    ///
    /// # Safety
    ///
    /// The conditions of [`Kernel::forward`] hold, and `log_sum_exp` comes from it.
    pub unsafe fn backward(
        &self,
        operands: &Inputs<Elements>,
        log_sum_exp: &[f32],
        gradient: &[f32],
        into: Inputs<Option<(&mut [f32], bool)>>,
    ) {
        let into = into.map_slots();
        let heads = self.scheme.heads;
        let (len, width) = (operands.qkv[0].len(), operands.qkv[0].len() / self.tokens().max(1));
        (0..heads).into_par_iter().for_each(|head| {
            let size = width / heads;
            let sums = |wanted: Option<Gradient>, operand: Option<Elements>, width: usize| {
                let n = wanted.flatten().and(operand).map_or(0, |operand| operand.len() / heads / width * width);
                vec![0.0; n]
            };
            let mut shared = SharedSums {
                position_keys: sums(into.position_keys, operands.position_keys, size),
                position_queries: sums(into.position_queries, operands.position_queries, size),
                bias: sums(into.bias, operands.bias, 1),
            };
            for tokens in self.heads_of(head, len).filter(|tokens| tokens.len > 0) {
                self.backward_task(tokens, operands, log_sum_exp, gradient, into.qkv, &mut shared);
            }
            let give = |gradient: Option<Gradient>, values: &[f32], size: usize| {
                let Some(gradient) = gradient.flatten() else { return };
                let own = Head { first: 0, len: 0, index: head, size, width: size * heads };
                // SAFETY: a task writes its own head alone.
                let rows = unsafe { own.part(gradient) };
                values.chunks_exact(size).enumerate().for_each(|(i, values)| rows.put(i, values));
            };
            give(into.position_keys, &shared.position_keys, size);
            give(into.position_queries, &shared.position_queries, size);
            give(into.bias, &shared.bias, 1);
        });
    }

    fn tokens(&self) -> usize {
        self.scheme.cu_seqlens.last().map_or(0, |&end| end as usize)
    }

    /// The location of head `index` in each sequence, for arrays of `len` values.
    fn heads_of(&self, index: usize, len: usize) -> impl Iterator<Item = Head> + '_ {
        let width = len / self.tokens().max(1);
        let size = width / self.scheme.heads;
        let starts = self.scheme.cu_seqlens.windows(2);
        starts.map(move |w| Head { first: w[0] as usize, len: (w[1] - w[0]) as usize, index, size, width })
    }

    fn pack(&self, columns: MatrixView) -> Packed {
        Packed::new_here(columns, self.precision)
    }

    fn sequence<'a>(&self, tokens: Head, operands: &Inputs<Elements<'a>>, values: MatrixView) -> Sequence<'a> {
        let [q, k, _] = operands.qkv;
        let rows = self.scheme.buckets.of(tokens.len);
        let table = Head { first: rows.first, len: rows.count, ..tokens };
        let of_table = |values: Elements<'a>| self.pack(table.rows(values, 0, table.len));
        let bias = |values: Elements| {
            let at = |row: usize| values.at((rows.first + row) * self.scheme.heads + tokens.index);
            (0..rows.count).map(|row| at(row) / self.scheme.scale).collect()
        };
        Sequence {
            keys: self.pack(tokens.rows(k, 0, tokens.len)),
            values: self.pack(values),
            position_keys: operands.position_keys.map(of_table),
            position_queries: operands.position_queries.map(of_table),
            bias: operands.bias.map(bias),
            q,
            table,
            tokens,
            rows,
        }
    }

    /// Products of all keys of a sequence with the table rows it uses (`position_queries`): `[n, R]`.
    fn keys_by_distance(sequence: &Sequence, k: Elements, by_key: &mut [f32]) {
        if let Some(position_queries) = &sequence.position_queries {
            let (tokens, count) = (&sequence.tokens, sequence.rows.count);
            let keys = tokens.rows(k, 0, tokens.len);
            matmul_on_this_thread(keys, position_queries.whole(), Output::new(by_key, count, false), |_, _| {});
        }
    }

    /// Scores `[rows, n]` of the queries from `row` on, before scaling.
    fn scores(sequence: &Sequence, (row, rows): (usize, usize), by_key: &[f32], by_query: &mut [f32], p: &mut [f32]) {
        let (tokens, count) = (&sequence.tokens, sequence.rows.count);
        let queries = tokens.rows(sequence.q, row, rows);
        if let Some(position_keys) = &sequence.position_keys {
            matmul_on_this_thread(queries, position_keys.whole(), Output::new(by_query, count, false), |_, _| {});
        }
        matmul_on_this_thread(queries, sequence.keys.whole(), Output::new(p, tokens.len, false), |i, p| {
            let columns = sequence.rows.of_query(row + i);
            if sequence.position_keys.is_some() {
                let by_query = &by_query[i * count..][..count];
                p.iter_mut().zip(columns).for_each(|(p, &column)| *p += by_query[column as usize]);
            }
            if sequence.position_queries.is_some() {
                let by_key = by_key.chunks_exact(count);
                p.iter_mut().zip(columns).zip(by_key).for_each(|((p, &column), key)| *p += key[column as usize]);
            }
            if let Some(bias) = &sequence.bias {
                p.iter_mut().zip(columns).for_each(|(p, &column)| *p += bias[column as usize]);
            }
        });
    }

    /// Number of scratch values for a block's scores, for its products with table rows, and for those of all keys.
    fn scratch(&self, tokens: &Head, operands: &Inputs<Elements>) -> [usize; 3] {
        let (low, high) = self.scheme.buckets.range(tokens.len);
        let (rows, count) = (BLOCK.min(tokens.len), (high - low) as usize + 1);
        let by_query = operands.position_keys.map_or(0, |_| rows * count);
        [rows * tokens.len, by_query, operands.position_queries.map_or(0, |_| tokens.len * count)]
    }

    fn row_dropout(&self, head: usize, query: usize) -> Option<Dropout> {
        self.scheme.dropout.map(|dropout| dropout.child((query * self.scheme.heads + head) as u64))
    }

    fn forward_task(&self, tokens: Head, operands: &Inputs<Elements>, out: SharedBuffer, log_sum_exp: SharedSlice) {
        let (n, all) = (tokens.len, self.tokens());
        let [_, k, v] = operands.qkv;
        with_scratch(self.scratch(&tokens, operands), |[p, by_query, by_key]| {
            let sequence = self.sequence(tokens, operands, tokens.rows(v, 0, n).transposed());
            Self::keys_by_distance(&sequence, k, by_key);
            for (row, rows) in blocks(n) {
                Self::scores(&sequence, (row, rows), by_key, by_query, p);
                let mut inverses = [0f32; BLOCK];
                for (i, p) in p.chunks_exact_mut(n).take(rows).enumerate() {
                    let query = tokens.first + row + i;
                    let (max, sum) = exponentials(p, self.scheme.scale, self.row_dropout(tokens.index, query), 0);
                    inverses[i] = 1.0 / sum;
                    // SAFETY: [H, T], each entry belongs to one task.
                    unsafe { *log_sum_exp.at(tokens.index * all + query) = max + sum.ln() };
                }
                let normalise = |i: usize, attended: &mut [f32]| attended.iter_mut().for_each(|x| *x *= inverses[i]);
                let attended = MatrixView::rows(&*p, rows, n);
                // SAFETY: a task writes its own sequence and head alone.
                unsafe { tokens.product(attended, sequence.values.whole(), out, row, normalise) };
            }
        });
    }

    /// Gradients of one sequence and head; those of the tables, which sequences share, are added to `shared`.
    fn backward_task(
        &self,
        tokens: Head,
        operands: &Inputs<Elements>,
        log_sum_exp: &[f32],
        grad: &[f32],
        into: [Gradient; 3],
        shared: &mut SharedSums,
    ) {
        let (n, size, all) = (tokens.len, tokens.size, self.tokens());
        let [q, k, v] = operands.qkv;
        // SAFETY: a task writes its own sequence and head alone.
        let [dq, dk, dv] = into.map(|gradient| gradient.map(|gradient| unsafe { tokens.part(gradient) }));
        let [scores, by_query, by_key] = self.scratch(&tokens, operands);
        let areas = [scores, scores, by_query, by_key, by_key];
        with_scratch(areas, |[p, dp, by_query, by_key, d_by_key]| {
            let sequence = self.sequence(tokens, operands, tokens.rows(v, 0, n));
            let (count, first) = (sequence.rows.count, sequence.table.first);
            let table_columns = |values: Elements| self.pack(sequence.table.rows(values, 0, count).transposed());
            let key_columns = dq.map(|_| self.pack(tokens.rows(k, 0, n).transposed()));
            let position_key_columns = dq.and(operands.position_keys).map(table_columns);
            Self::keys_by_distance(&sequence, k, by_key);
            d_by_key.fill(0.0);
            for (row, rows) in blocks(n) {
                Self::scores(&sequence, (row, rows), by_key, by_query, p);
                let grad = tokens.rows(grad.into(), row, rows);
                matmul_on_this_thread(grad, sequence.values.whole(), Output::new(dp, n, false), |_, _| {});
                for (i, (p, dp)) in p.chunks_exact_mut(n).zip(dp.chunks_exact_mut(n)).take(rows).enumerate() {
                    let query = tokens.first + row + i;
                    let lse = log_sum_exp[tokens.index * all + query];
                    softmax_backward(p, dp, self.scheme.scale, lse, self.row_dropout(tokens.index, query), 0);
                }
                let (queries, add) = (tokens.rows(q, row, rows), row > 0);
                if let Some(dv) = dv {
                    let packed = self.pack(grad.transposed());
                    matmul_on_this_thread(
                        MatrixView::columns(&*p, n, rows),
                        packed.whole(),
                        dv.output(0, add),
                        |_, _| {},
                    );
                }
                if let Some(dk) = dk {
                    let packed = self.pack(queries.transposed());
                    matmul_on_this_thread(
                        MatrixView::columns(&*dp, n, rows),
                        packed.whole(),
                        dk.output(0, add),
                        |_, _| {},
                    );
                }
                if let (Some(dq), Some(keys)) = (dq, &key_columns) {
                    matmul_on_this_thread(
                        MatrixView::rows(&*dp, rows, n),
                        keys.whole(),
                        dq.output(row, false),
                        |_, _| {},
                    );
                }
                // The gradient of a product with a table row is the sum over all scores that use it.
                by_query.fill(0.0);
                for (i, dp) in dp.chunks_exact(n).take(rows).enumerate() {
                    let columns = sequence.rows.of_query(row + i);
                    if sequence.position_keys.is_some() {
                        let by_query = &mut by_query[i * count..][..count];
                        dp.iter().zip(columns).for_each(|(dp, &column)| by_query[column as usize] += dp);
                    }
                    if sequence.position_queries.is_some() {
                        let by_key = d_by_key.chunks_exact_mut(count);
                        dp.iter().zip(columns).zip(by_key).for_each(|((dp, &column), key)| key[column as usize] += dp);
                    }
                    if !shared.bias.is_empty() {
                        let bias = &mut shared.bias[first..][..count];
                        dp.iter().zip(columns).for_each(|(dp, &c)| bias[c as usize] += dp / self.scheme.scale);
                    }
                }
                if let (Some(dq), Some(position_keys)) = (dq, &position_key_columns) {
                    let lines = MatrixView::rows(&*by_query, rows, count);
                    matmul_on_this_thread(lines, position_keys.whole(), dq.output(row, true), |_, _| {});
                }
                if !shared.position_keys.is_empty() {
                    let packed = self.pack(queries.transposed());
                    let sums = Output::new(&mut shared.position_keys[first * size..], size, true);
                    matmul_on_this_thread(
                        MatrixView::columns(&*by_query, count, rows),
                        packed.whole(),
                        sums,
                        |_, _| {},
                    );
                }
            }
            let d_by_key = &*d_by_key;
            if let (Some(dk), Some(values)) = (dk, operands.position_queries) {
                let columns = table_columns(values);
                matmul_on_this_thread(
                    MatrixView::rows(d_by_key, n, count),
                    columns.whole(),
                    dk.output(0, true),
                    |_, _| {},
                );
            }
            if !shared.position_queries.is_empty() {
                let packed = self.pack(tokens.rows(k, 0, n).transposed());
                let sums = Output::new(&mut shared.position_queries[first * size..], size, true);
                matmul_on_this_thread(MatrixView::columns(d_by_key, count, n), packed.whole(), sums, |_, _| {});
            }
        });
    }
}

/// Gradients of one head that its sequences share; empty if they are not needed.
struct SharedSums {
    /// Shape `[R, d]`.
    position_keys: Vec<f32>,
    /// Shape `[R, d]`.
    position_queries: Vec<f32>,
    /// Shape `[R]`.
    bias: Vec<f32>,
}

impl<'a> Inputs<Option<(&'a mut [f32], bool)>> {
    /// The gradients in the form that tasks write.
    fn map_slots(self) -> Inputs<Gradient<'a>> {
        self.map(|slot| slot.map(|(values, add)| (SharedSlice::new(values), add)))
    }
}

/// First query and number of queries of each block.
fn blocks(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(BLOCK).map(move |row| (row, BLOCK.min(n - row)))
}
