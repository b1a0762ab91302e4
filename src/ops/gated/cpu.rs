//! Gated linear unit products on the CPU.

use rayon::prelude::*;

use crate::compute::simd::vectorised;
use crate::compute::{Buffer, CHUNK, Elements, StorageDtype, for_chunks};
use crate::ops::activation::Activation;
use crate::ops::activation::cpu::{activate, scale_by_slope};

/// Number of values held in f32 between steps.
const PIECE: usize = 1024;

/// `f(gate) * up`, for values of equal number.
pub(super) fn forward(gate: Elements, up: Elements, activation: Activation, dtype: StorageDtype) -> Buffer {
    let n = gate.len();
    // SAFETY: every piece is written.
    let mut y = unsafe { Buffer::uninit(dtype, n) };
    let shared = y.shared();
    (0..n.div_ceil(PIECE)).into_par_iter().with_min_len(CHUNK / PIECE).for_each(|piece| {
        let range = piece * PIECE..n.min((piece + 1) * PIECE);
        let activated = &mut [0f32; PIECE][..range.len()];
        gate.range(range.clone()).copy_to(activated);
        activate(activation, activated);
        multiply(activated, up.range(range.clone()));
        // SAFETY: each piece is written once.
        unsafe { shared.copy_from(range.start, activated) };
    });
    y
}

/// Turns `dy` into `dup`, in place.
pub(super) fn up_gradient(gate: Elements, activation: Activation, gradient: &mut [f32]) {
    for_chunks(gradient, PIECE, |start, dup| {
        let gate = gate.range(start..start + dup.len());
        let activated = &mut [0f32; PIECE][..dup.len()];
        gate.copy_to(activated);
        activate(activation, activated);
        multiply(dup, (&*activated).into());
    });
}

/// Turns `dy` into `dgate`, in place.
pub(super) fn gate_gradient(gate: Elements, up: Elements, activation: Activation, gradient: &mut [f32]) {
    for_chunks(gradient, PIECE, |start, dgate| {
        let range = start..start + dgate.len();
        multiply(dgate, up.range(range.clone()));
        scale_by_slope(activation, gate.range(range), dgate);
    });
}

/// `x *= factor`, for values of equal number.
fn multiply(x: &mut [f32], factor: Elements) {
    factor.for_pieces(|start, factor| multiply_piece(&mut x[start..start + factor.len()], factor));
}

vectorised! {
    fn multiply_piece(x: &mut [f32], factor: &[f32]) {
        x.iter_mut().zip(factor).for_each(|(x, factor)| *x *= factor);
    }
}
