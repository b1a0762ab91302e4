//! Tests of every kind of product against sums in f64, at sizes that do not fill tiles.

use std::error::Error;

use half::bf16;

use super::{Int8Weight, MatrixView, Output, Packed, Precision, Rhs, matmul, matmul_streaming_rhs};
use crate::compute::{Elements, bf16_bits};

fn values(n: usize, seed: u64) -> Vec<f32> {
    crate::rng::Key::new(seed, crate::rng::Stream::Init).normal(n, 1.0)
}

/// `A B` in f64 from operands rounded by `round`, and the sum of absolute terms, which bounds the error of each value.
fn reference(rows: MatrixView, columns: MatrixView, round: impl Fn(f32) -> f32) -> (Vec<f64>, Vec<f64>) {
    let at = |l: &MatrixView, i: usize, j: usize| f64::from(round(l.values.at(i * l.line_stride + j * l.depth_stride)));
    let terms = |i: usize, j: usize| (0..rows.depth).map(move |d| (i, j, d));
    let term = |(i, j, d): (usize, usize, usize)| at(&rows, i, d) * at(&columns, j, d);
    let cells = (0..rows.count).flat_map(|i| (0..columns.count).map(move |j| (i, j)));
    cells.map(|(i, j)| (terms(i, j).map(term).sum::<f64>(), terms(i, j).map(|t| term(t).abs()).sum::<f64>())).unzip()
}

/// Odd sizes, and sizes whose operands are read in place: one panel, several, several tasks and groups; rows that must
/// be packed.
const SIZES: [[usize; 3]; 14] = [
    [0, 64, 8],
    [30, 64, 512],
    [57, 96, 1024],
    [71, 320, 300],
    [15, 1024, 40],
    [1, 1, 1],
    [14, 32, 256],
    [29, 96, 301],
    [15, 33, 257],
    [3, 70, 2],
    [57, 31, 513],
    [130, 65, 40],
    [113, 300, 77],
    [2, 5, 0],
];

/// The sizes that Miri, an interpreter, can multiply in seconds; without Miri all of them.
fn feasible(sizes: impl IntoIterator<Item = [usize; 3]>) -> impl Iterator<Item = [usize; 3]> {
    sizes.into_iter().filter(|[m, n, k]| !cfg!(miri) || m * n * k <= 130_000)
}

fn check(precision: Precision, round: fn(f32) -> f32) {
    for [m, n, k] in feasible(SIZES) {
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        for rows in [MatrixView::rows(&a, m, k), MatrixView::columns(&a, m, k)] {
            for columns in [MatrixView::rows(&b, n, k), MatrixView::columns(&b, n, k)] {
                for (add, stride) in [(false, n), (true, n + 3)] {
                    let mut out = vec![0.25f32; m * stride];
                    let b = Rhs::new(columns, precision);
                    matmul(rows, b.whole(), Output::new(&mut out, stride, add), |_, _, piece| {
                        for x in piece {
                            *x += 1.0;
                        }
                    });
                    let (want, bound) = reference(rows, columns, round);
                    for (i, (want, bound)) in want.iter().zip(bound).enumerate() {
                        let got = f64::from(out[i / n * stride + i % n]);
                        let want = want + if add { 1.25 } else { 1.0 };
                        assert!((got - want).abs() <= 4e-7 * (bound + 2.0), "{m}x{n}x{k} {precision:?}: {got} {want}");
                    }
                    let untouched = |i: &usize| i % stride >= n;
                    assert!((0..out.len()).filter(untouched).all(|i| out[i] == 0.25));
                }
            }
        }
    }
}

#[test]
fn product_when_sizes_are_odd_equals_the_sum_in_f64() {
    check(Precision::F32, |x| x);
}

#[test]
fn product_in_bf16_when_sizes_are_odd_equals_the_sum_of_rounded_values() {
    check(Precision::Bf16, |x| f32::from_bits(bf16_bits(x) << 16));
}

#[test]
fn product_in_int8_when_sizes_are_odd_is_within_the_rounding_of_its_operands() {
    for [m, n, k] in feasible(SIZES) {
        let (a, w) = (values(m * k, 3), values(n * k, 4));
        let mut out = vec![0f32; m * n];
        Int8Weight::new(&w, n, k).product(&a, Output::new(&mut out, n, false), |_, _, _| {});
        let (want, _) = reference(MatrixView::rows(&a, m, k), MatrixView::rows(&w, n, k), |x| x);
        let largest = |row: &[f32]| f64::from(row.iter().fold(0f32, |m, x| m.max(x.abs())));
        for (i, want) in want.iter().enumerate() {
            let (a, w) = (&a[i / n * k..][..k], &w[i % n * k..][..k]);
            let half = |row: &[f32]| largest(row) / 254.0 * 1.001;
            let sum = |row: &[f32]| row.iter().map(|x| f64::from(x.abs())).sum::<f64>();
            let bound = half(a) * sum(w) + half(w) * sum(a) + k as f64 * half(a) * half(w) + 1e-5;
            assert!((f64::from(out[i]) - want).abs() <= bound, "{m}x{n}x{k}: {} {want} {bound}", out[i]);
        }
    }
}

#[test]
fn bf16_when_a_value_lies_between_two_rounds_to_the_nearest_even() {
    let rounded = |x: f32| f32::from_bits(bf16_bits(x) << 16);
    assert_eq!((rounded(1.0 + 1.0 / 256.0), rounded(1.0 + 3.0 / 256.0)), (1.0, 1.0 + 4.0 / 256.0));
    assert_eq!((rounded(-0.0).to_bits(), rounded(f32::INFINITY)), ((-0.0f32).to_bits(), f32::INFINITY));
    assert!(rounded(f32::from_bits(0x7fff_ffff)).is_nan() && rounded(f32::MAX).is_infinite());
}

fn lines(values: Elements<'_>, along: bool, count: usize, depth: usize) -> MatrixView<'_> {
    if along { MatrixView::rows(values, count, depth) } else { MatrixView::columns(values, count, depth) }
}

#[test]
fn product_when_operands_are_kept_in_bf16_is_the_same_bytes() {
    for [m, n, k] in feasible(SIZES) {
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        let narrow = |values: &[f32]| values.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>();
        let (narrow_a, narrow_b) = (narrow(&a), narrow(&b));
        let multiply = |rows: MatrixView, columns: MatrixView| {
            let mut out = vec![0f32; m * n];
            let b = Packed::new(columns, Precision::Bf16);
            matmul(rows, b.whole(), Output::new(&mut out, n, false), |_, _, _| {});
            let lent = std::sync::Mutex::new(vec![0f32; m * n]);
            matmul(rows, b.whole(), Output::scratch(), |row, column, piece| {
                if let Ok(mut lent) = lent.lock() {
                    lent[row * n + column..][..piece.len()].copy_from_slice(piece);
                }
            });
            assert!(lent.into_inner().is_ok_and(|lent| lent == out), "{m}x{k}x{n}");
            out
        };
        for a_along in [true, false] {
            for b_along in [true, false] {
                let wide = multiply(lines((&a).into(), a_along, m, k), lines((&b).into(), b_along, n, k));
                let (a, b) = (Elements::Bf16(&narrow_a), Elements::Bf16(&narrow_b));
                let same = multiply(lines(a, a_along, m, k), lines(b, b_along, n, k));
                assert_eq!(same, wide, "{m}x{k}x{n}");
            }
        }
    }
}

#[test]
fn product_once_when_threads_are_any_number_is_the_same_bytes_as_with_a_packed_operand() -> Result<(), Box<dyn Error>> {
    // Sizes that do not fill tiles, others with many pieces, and a depth at which the cache holds only one panel.
    let large = [[1, 3000, 400], [9, 577, 576], [60, 90, 700], [2, 40, 9000]];
    for [m, n, k] in feasible(SIZES.into_iter().chain(large)) {
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        let rows = MatrixView::rows(&a, m, k);
        for columns in [MatrixView::rows(&b, n, k), MatrixView::columns(&b, n, k)] {
            for precision in [Precision::F32, Precision::Bf16] {
                let mut packed = vec![0.25f32; m * (n + 3)];
                let finish =
                    |row, column, piece: &mut [f32]| piece.iter_mut().for_each(|x| *x += (row * column) as f32);
                matmul(
                    rows,
                    Packed::new(columns, precision).whole(),
                    Output::new(&mut packed, n + 3, true),
                    |row, first, y| {
                        y.iter_mut().enumerate().for_each(|(i, y)| finish(row, first + i, std::slice::from_mut(y)));
                    },
                );
                for threads in [1, 2, 5] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                    let mut once = vec![0.25f32; m * (n + 3)];
                    pool.install(|| {
                        matmul_streaming_rhs(
                            rows,
                            columns,
                            precision,
                            Output::new(&mut once, n + 3, true),
                            |row, first, y| {
                                y.iter_mut()
                                    .enumerate()
                                    .for_each(|(i, y)| finish(row, first + i, std::slice::from_mut(y)));
                            },
                        );
                    });
                    assert!(once == packed, "{m}x{k}x{n} {precision:?}, {threads} threads");
                }
            }
        }
    }
    Ok(())
}
