//! Relative attention on the CPU. A task is one head: of one sequence forward, of all sequences backward.

use rayon::prelude::*;

use super::operands::Operands;
use super::relations::Sequence;
use super::scheme::RelativeScheme;
use crate::compute::{Buffer, SharedBuffer, SharedSlice, StorageDtype, sum_rows_into, uninit};
use crate::matmul::{COLUMNS, MatrixView, Output, Packed, Precision, matmul_on_this_thread};
use crate::ops::attention::head::{BLOCK, Head};
use crate::ops::attention::scratch::with_scratch;
use crate::ops::attention::softmax::{exponentials, softmax_backward};
use crate::ops::dropout::Dropout;

/// An output gradient that tasks write, and whether they add to it; None if it is not needed.
type Gradient<'a> = Option<(SharedSlice<'a>, bool)>;

/// Settings shared by all tasks.
pub(super) struct Kernel<'a> {
    pub scheme: &'a RelativeScheme,
    pub sequences: &'a [Sequence],
    pub precision: Precision,
}

/// One head of one sequence: the location of its queries, keys and relative positions.
struct Place {
    queries: Head,
    keys: Head,
    /// Rows of `r` from the distance of the last position to the first key down to that of the first position to the
    /// last key.
    distances: Head,
}

/// A block of queries, and the range of the sequence's distances that it needs, extended to whole panels.
struct Block {
    row: usize,
    rows: usize,
    columns: std::ops::Range<usize>,
}

impl Kernel<'_> {
    /// Returns the output `[Tq, H * d]`, and the log-sum-exp of each row of scores, `[H, Tq]`.
    ///
    /// # Safety
    ///
    /// The operands fit the scheme and its sequences.
    pub unsafe fn forward(&self, operands: &Operands, dtype: StorageDtype) -> (Buffer, Vec<f32>) {
        let (queries, heads) = (self.scheme.relations.positions.len(), self.scheme.heads);
        // SAFETY: there is a task for each head of each sequence, and it writes the rows of that head's queries.
        let (mut out, mut lse) = unsafe { (Buffer::uninit(dtype, operands.q.len()), uninit(queries * heads)) };
        let (shared, shared_lse) = (out.shared(), SharedSlice::new(&mut lse));
        let tasks: Vec<_> = self.sequences.iter().flat_map(|s| (0..heads).map(move |head| (s, head))).collect();
        let task = |(sequence, head)| self.forward_task(sequence, head, operands, shared, shared_lse);
        tasks.into_par_iter().for_each(task);
        (out, lse)
    }

    /// Computes the gradients that are needed; each is completely overwritten, or added to. A task is a head, which
    /// processes its sequences in order, because they share the gradients of `r`, the biases and the segments.
    ///
    /// # Safety
    ///
    /// The conditions of [`Kernel::forward`] hold, and `log_sum_exp` comes from it.
    pub unsafe fn backward(
        &self,
        operands: &Operands,
        log_sum_exp: &[f32],
        gradient: &[f32],
        into: [Option<(&mut [f32], bool)>; 8],
    ) {
        let width = operands.segment.len();
        let (size, n_distances) = (width / self.scheme.heads, operands.r.len() / width);
        let shared = into.map(|slot| slot.map(|(values, add)| (SharedSlice::new(values), add)));
        let [dq, dk, dv, dr, d_word, d_distance, d_segment_bias, d_segments]: [Gradient; 8] = shared;
        (0..self.scheme.heads).into_par_iter().for_each(|head| {
            let zeros = || vec![0.0; size];
            let mut shared = SharedSums {
                r: vec![0.0; dr.map_or(0, |_| n_distances * size)],
                word_bias: zeros(),
                distance_bias: zeros(),
                segment_bias: zeros(),
                segment: zeros(),
            };
            for sequence in self.sequences {
                self.backward_task(sequence, head, operands, log_sum_exp, gradient, [dq, dk, dv], &mut shared);
            }
            let own = |first| Head { first, len: 1, index: head, size, width };
            let give = |gradient: Gradient, first, values: &[f32]| {
                if let Some(gradient) = gradient {
                    // SAFETY: a task writes its own head alone.
                    let rows = unsafe { own(first).part(gradient) };
                    values.chunks_exact(size).enumerate().for_each(|(i, values)| rows.put(i, values));
                }
            };
            give(dr, 0, &shared.r);
            give(d_word, 0, &shared.word_bias);
            give(d_distance, 0, &shared.distance_bias);
            give(d_segment_bias, 0, &shared.segment_bias);
            give(d_segments, 1, &shared.segment);
            give(d_segments, 0, &shared.segment.iter().map(|x| -x).collect::<Vec<_>>());
        });
    }

    fn place(&self, sequence: &Sequence, index: usize, width: usize) -> Place {
        let size = width / self.scheme.heads;
        let head = |first, len| Head { first, len, index, size, width };
        Place {
            queries: head(sequence.first_query, sequence.queries),
            keys: head(sequence.first_key, sequence.keys),
            distances: match sequence.own() {
                0 => head(0, 0),
                own => head(self.scheme.farthest + 1 - sequence.keys, own - 1 + sequence.keys),
            },
        }
    }

    fn blocks<'a>(&'a self, sequence: &'a Sequence) -> impl Iterator<Item = Block> + 'a {
        (0..sequence.queries).step_by(BLOCK).map(move |row| {
            let rows = BLOCK.min(sequence.queries - row);
            let (low, high) = self.scheme.relations.positions(sequence.first_query + row, rows);
            let (last, count) = (sequence.own() - 1, sequence.own() - 1 + sequence.keys);
            let (start, end) = (last - high, last - low + sequence.keys);
            Block { row, rows, columns: start / COLUMNS * COLUMNS..end.next_multiple_of(COLUMNS).min(count) }
        })
    }

    /// Offset, in a block's row of scores by distance, of the first key of the query in `row`.
    fn stretch(&self, sequence: &Sequence, block: &Block, row: usize) -> usize {
        let position = self.scheme.relations.positions[sequence.first_query + block.row + row] as usize;
        sequence.own() - 1 - position - block.columns.start
    }

    /// Number of scratch values for a block's scores, for its scores by distance, and for its queries.
    fn scratch(sequence: &Sequence, size: usize) -> [usize; 3] {
        let rows = BLOCK.min(sequence.queries);
        [rows * sequence.keys, rows * (sequence.own() + sequence.keys), rows * size]
    }

    /// Scores of a block before scaling, written to `p` without masking. The queries with their biases stay in
    /// `q_words` and `q_distances`.
    #[allow(clippy::too_many_arguments)]
    fn scores(
        &self,
        sequence: &Sequence,
        place: &Place,
        block: &Block,
        operands: &Operands,
        (keys, distances): (&Packed, &Packed),
        p: &mut [f32],
        by_distance: &mut [f32],
        [q_words, q_distances]: [&mut [f32]; 2],
    ) {
        let (size, head) = (place.queries.size, place.queries.index);
        let at = head * size..(head + 1) * size;
        let [word_bias, distance_bias, segment_bias] = [0, 1, 2].map(|i| &operands.biases[i][at.clone()]);
        let segment = &operands.segment[at.clone()];
        let mut by_segment = [0f32; BLOCK];
        for i in 0..block.rows {
            let (words, distances) = (&mut q_words[i * size..][..size], &mut q_distances[i * size..][..size]);
            let first = place.queries.offset(block.row + i);
            operands.q.range(first..first + size).copy_to(words);
            by_segment[i] = words.iter().zip(segment_bias).zip(segment).map(|((q, bias), s)| (q + bias) * s).sum();
            for (((word, distance), word_bias), distance_bias) in
                words.iter_mut().zip(distances).zip(word_bias).zip(distance_bias)
            {
                *distance = *word + distance_bias;
                *word += word_bias;
            }
        }
        let lines = |values| MatrixView::rows(values, block.rows, size);
        let (n_keys, width) = (sequence.keys, block.columns.len());
        let columns = distances.columns(block.columns.clone());
        matmul_on_this_thread(lines(&*q_distances), columns, Output::new(by_distance, width, false), |_, _| {});
        matmul_on_this_thread(lines(&*q_words), keys.whole(), Output::new(p, n_keys, false), |i, p| {
            let from = i * width + self.stretch(sequence, block, i);
            sum_rows_into(p, &by_distance[from..from + n_keys]);
            let query = sequence.first_query + block.row + i;
            for (p, differs) in p.iter_mut().zip(self.scheme.relations.differs(sequence, query)) {
                *p += if differs { by_segment[i] } else { 0.0 };
            }
        });
    }

    fn row_dropout(&self, head: usize, query: usize) -> Option<Dropout> {
        self.scheme.dropout.map(|dropout| dropout.child((query * self.scheme.heads + head) as u64))
    }

    fn pack(&self, columns: MatrixView) -> Packed {
        Packed::new_here(columns, self.precision)
    }

    fn forward_task(
        &self,
        sequence: &Sequence,
        head: usize,
        operands: &Operands,
        out: SharedBuffer,
        log_sum_exp: SharedSlice,
    ) {
        if sequence.queries == 0 {
            return;
        }
        let tokens = self.scheme.relations.positions.len();
        let place = self.place(sequence, head, operands.segment.len());
        let (size, n_keys) = (place.keys.size, sequence.keys);
        let scale = 1.0 / (size as f32).sqrt();
        let [scores, by_distance, queries] = Self::scratch(sequence, size);
        with_scratch([scores, by_distance, queries, queries], |[p, by_distance, q_words, q_distances]| {
            let keys = self.pack(place.keys.rows(operands.k, 0, n_keys));
            let distances = self.pack(place.distances.rows(operands.r, 0, place.distances.len));
            let values = self.pack(place.keys.rows(operands.v, 0, n_keys).transposed());
            for block in self.blocks(sequence) {
                let packed = (&keys, &distances);
                let queries = [&mut *q_words, &mut *q_distances];
                self.scores(sequence, &place, &block, operands, packed, p, by_distance, queries);
                let mut inverses = [0f32; BLOCK];
                for (i, p) in p.chunks_exact_mut(n_keys).take(block.rows).enumerate() {
                    let query = sequence.first_query + block.row + i;
                    let mut lse = f32::INFINITY;
                    if self.scheme.relations.hide(sequence, query, p) {
                        let (max, sum) = exponentials(p, scale, self.row_dropout(head, query), 0);
                        (inverses[i], lse) = (1.0 / sum, max + sum.ln());
                    } else {
                        p.fill(0.0);
                    }
                    // SAFETY: [H, Tq], each entry belongs to one task.
                    unsafe { *log_sum_exp.at(head * tokens + query) = lse };
                }
                let attended = MatrixView::rows(&*p, block.rows, n_keys);
                let normalise = |i: usize, attended: &mut [f32]| {
                    for x in attended {
                        *x *= inverses[i];
                    }
                };
                // SAFETY: a task writes its own sequence and head alone.
                unsafe { place.queries.product(attended, values.whole(), out, block.row, normalise) };
            }
        });
    }

    /// Gradients of one sequence and head; those that sequences share are added to `shared`.
    #[allow(clippy::too_many_arguments)]
    fn backward_task(
        &self,
        sequence: &Sequence,
        head: usize,
        operands: &Operands,
        log_sum_exp: &[f32],
        grad: &[f32],
        [dq, dk, dv]: [Gradient; 3],
        shared: &mut SharedSums,
    ) {
        let place = self.place(sequence, head, operands.segment.len());
        // SAFETY: a task writes its own sequence and head alone.
        let [dk, dv] = [dk, dv].map(|gradient| gradient.map(|gradient| unsafe { place.keys.part(gradient) }));
        let (size, n_keys) = (place.keys.size, sequence.keys);
        if sequence.queries == 0 {
            for rows in dk.iter().chain(&dv) {
                (0..n_keys).for_each(|row| rows.put(row, &vec![0.0; size]));
            }
            return;
        }
        let (tokens, scale) = (self.scheme.relations.positions.len(), 1.0 / (size as f32).sqrt());
        // SAFETY: a task writes its own sequence and head alone.
        let dq = dq.map(|gradient| unsafe { place.queries.part(gradient) });
        let at = head * size..(head + 1) * size;
        let (segment, segment_bias) = (&operands.segment[at.clone()], &operands.biases[2][at]);
        let [scores, by_distance, queries] = Self::scratch(sequence, size);
        let areas = [scores, scores, by_distance, queries, queries, queries, queries];
        with_scratch(areas, |[p, dp, by_distance, q_words, q_distances, from_keys, from_distances]| {
            let (k, r) = (place.keys.rows(operands.k, 0, n_keys), &place.distances);
            let r_rows = r.rows(operands.r, 0, r.len);
            let (keys, key_columns) = (self.pack(k), self.pack(k.transposed()));
            let (distances, distance_columns) = (self.pack(r_rows), self.pack(r_rows.transposed()));
            let values = self.pack(place.keys.rows(operands.v, 0, n_keys));
            for block in self.blocks(sequence) {
                let (rows, width) = (block.rows, block.columns.len());
                let queries = [&mut *q_words, &mut *q_distances];
                self.scores(sequence, &place, &block, operands, (&keys, &distances), p, by_distance, queries);
                let grad = place.queries.rows(grad.into(), block.row, rows);
                matmul_on_this_thread(grad, values.whole(), Output::new(dp, n_keys, false), |_, _| {});
                for (i, (p, dp)) in p.chunks_exact_mut(n_keys).zip(dp.chunks_exact_mut(n_keys)).take(rows).enumerate() {
                    let query = sequence.first_query + block.row + i;
                    if self.scheme.relations.hide(sequence, query, p) {
                        let lse = log_sum_exp[head * tokens + query];
                        softmax_backward(p, dp, scale, lse, self.row_dropout(head, query), 0);
                    } else {
                        p.fill(0.0);
                        dp.fill(0.0);
                    }
                }
                let (dp, add) = (&*dp, block.row > 0);
                if let Some(dv) = dv {
                    let packed = self.pack(grad.transposed());
                    matmul_on_this_thread(transposed(p, rows, n_keys), packed.whole(), dv.output(0, add), |_, _| {});
                }
                let query_columns = |values: &[f32]| self.pack(MatrixView::rows(values, rows, size).transposed());
                if let Some(dk) = dk {
                    let packed = query_columns(q_words);
                    matmul_on_this_thread(transposed(dp, rows, n_keys), packed.whole(), dk.output(0, add), |_, _| {});
                }
                // From here on `by_distance` holds the gradients of the scores by distance.
                by_distance[..rows * width].fill(0.0);
                for (i, dp) in dp.chunks_exact(n_keys).take(rows).enumerate() {
                    let from = i * width + self.stretch(sequence, &block, i);
                    by_distance[from..from + n_keys].copy_from_slice(dp);
                }
                let by_distance = &by_distance[..rows * width];
                if !shared.r.is_empty() {
                    let (packed, first) = (query_columns(q_distances), (r.first + block.columns.start) * size);
                    let sums = Output::new(&mut shared.r[first..], size, true);
                    matmul_on_this_thread(transposed(by_distance, rows, width), packed.whole(), sums, |_, _| {});
                }
                let lines = MatrixView::rows(dp, rows, n_keys);
                matmul_on_this_thread(lines, key_columns.whole(), Output::new(from_keys, size, false), |_, _| {});
                sum_rows_into(&mut shared.word_bias, &from_keys[..rows * size]);
                let (lines, columns) =
                    (MatrixView::rows(by_distance, rows, width), distance_columns.depths(block.columns.clone()));
                matmul_on_this_thread(lines, columns, Output::new(from_distances, size, false), |_, _| {});
                sum_rows_into(&mut shared.distance_bias, &from_distances[..rows * size]);
                for i in 0..rows {
                    let query = sequence.first_query + block.row + i;
                    let scores = dp[i * n_keys..][..n_keys].iter().zip(self.scheme.relations.differs(sequence, query));
                    let differing: f32 = scores.map(|(dp, differs)| if differs { *dp } else { 0.0 }).sum();
                    let [from_keys, q_words] = [&mut from_keys[i * size..][..size], &mut q_words[i * size..][..size]];
                    let word_bias = &operands.biases[0][head * size..][..size];
                    for j in 0..size {
                        from_keys[j] += from_distances[i * size + j] + differing * segment[j];
                        shared.segment_bias[j] += differing * segment[j];
                        shared.segment[j] += differing * (q_words[j] - word_bias[j] + segment_bias[j]);
                    }
                    if let Some(dq) = dq {
                        dq.put(block.row + i, from_keys);
                    }
                }
            }
        });
    }
}

/// Gradients of one head that its sequences share.
struct SharedSums {
    /// Gradient of `r`, `[R, d]`; empty if it is not needed.
    pub r: Vec<f32>,
    pub word_bias: Vec<f32>,
    pub distance_bias: Vec<f32>,
    pub segment_bias: Vec<f32>,
    /// Gradient of the embedding of different segments. That of equal segments is its negative, because the gradients
    /// of a query's scores sum to zero.
    pub segment: Vec<f32>,
}

/// The columns of `values [rows, columns]`, as lines.
fn transposed(values: &[f32], rows: usize, columns: usize) -> MatrixView<'_> {
    MatrixView::columns(values, columns, rows)
}
