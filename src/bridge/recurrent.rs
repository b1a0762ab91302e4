//! Multi-layer, optionally bidirectional LSTM and GRU over packed sequences, with parameters in torch's layout.
//!
//! Shapes: `x [T, D]` to `[T, H]`, or `[T, 2H]` if bidirectional. candle-nn computes each time step. Time steps run in
//! chunks, each an operation of its own: candle traverses graphs by recursion, which thousands of steps would overflow,
//! and the backward of a slice fills the whole tensor it was cut from. candle-nn's own `Direction::Backward` only
//! renames parameters; here each sequence is really read from its end.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::rnn::{GRUState, LSTMState, RNN};
use candle_nn::{GRUConfig, LSTMConfig};

use super::function::CandleFunction;
use super::tensors::Tensors;
use super::time_steps::TimeSteps;
use crate::array::Array;
use crate::autograd::Var;
use crate::backbone::{Init, Parameters, Spec};
use crate::error::{Error, Result};
use crate::ops::columns::side_by_side;
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::embedding::{embedding, stacked_rows};
use crate::rng::Key;

/// Time steps per candle function call.
const CHUNK_STEPS: usize = 16;

/// Type of recurrent cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Lstm,
    Gru,
}

impl Cell {
    /// Number of gates: blocks of `H` rows in a weight.
    fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Names of the states passed from one step to the next; the first is the output.
    fn states(self) -> &'static [&'static str] {
        match self {
            Self::Lstm => &["h", "c"],
            Self::Gru => &["h"],
        }
    }
}

/// Dropout between layers as in torch: not after the last layer.
#[derive(Debug, Clone, Copy)]
pub struct RecurrentDropout {
    pub p: f64,
    pub key: Key,
}

/// A recurrent network of one or more layers.
pub struct Recurrent {
    cell: Cell,
    input_size: usize,
    hidden_size: usize,
    /// For each layer, one or two directions.
    layers: Vec<Vec<Direction>>,
}

/// One direction of one layer.
struct Direction {
    reversed: bool,
    parameters: [String; 4],
    input_size: usize,
    function: CandleFunction,
}

impl Recurrent {
    /// Creates `layers` layers of `hidden_size` units in each direction for inputs of `input_size`. Parameters have
    /// torch's names, `name.weight_ih_l0` and so on.
    pub fn new(
        name: &str,
        cell: Cell,
        [input_size, hidden_size]: [usize; 2],
        layers: usize,
        bidirectional: bool,
    ) -> Result<Self> {
        if input_size == 0 || hidden_size == 0 || layers == 0 {
            return Err(Error::Value(format!(
                "{name}: got input size {input_size}, hidden size {hidden_size} and {layers} layers, expected at least 1"
            )));
        }
        let directions = if bidirectional { &[false, true][..] } else { &[false] };
        let layer = |layer: usize| {
            let input = if layer == 0 { input_size } else { directions.len() * hidden_size };
            directions
                .iter()
                .map(|&reversed| Direction::new(name, cell, [input, hidden_size], layer, reversed))
                .collect()
        };
        Ok(Self { cell, input_size, hidden_size, layers: (0..layers).map(layer).collect() })
    }

    /// Number of columns of the output, `H` or `2H`.
    pub fn output_size(&self) -> usize {
        self.layers[0].len() * self.hidden_size
    }

    /// Specs of the parameters; initialised as in torch, uniformly within `1 / sqrt(H)`.
    pub fn specs(&self) -> Vec<Spec> {
        let (n, init) = (self.cell.gates() * self.hidden_size, Init::Uniform(1.0 / (self.hidden_size as f64).sqrt()));
        let specs = |direction: &Direction| {
            let shapes = [vec![n, direction.input_size], vec![n, self.hidden_size], vec![n], vec![n]];
            let spec = |(name, shape): (&String, Vec<usize>)| Spec::new(name, &shape, init);
            direction.parameters.iter().zip(shapes).map(spec).collect::<Vec<_>>()
        };
        self.layers.iter().flatten().flat_map(specs).collect()
    }

    /// Output at every token: `x [T, D]` to `[T, H]`, or `[T, 2H]` with the forward direction first.
    pub fn forward(
        &self,
        x: &Var,
        cu_seqlens: &[u32],
        parameters: &Parameters,
        dropout: Option<RecurrentDropout>,
    ) -> Result<Var> {
        side_by_side(&self.directions(x, cu_seqlens, parameters, dropout)?)
    }

    /// Final output of each direction: `x [T, D]` to `[B, H]`, or `[B, 2H]` with the last token's output of the forward
    /// and the first token's output of the backward direction. Zeros for a sequence without tokens.
    pub fn last(
        &self,
        x: &Var,
        cu_seqlens: &[u32],
        parameters: &Parameters,
        dropout: Option<RecurrentDropout>,
    ) -> Result<Var> {
        let directions = self.directions(x, cu_seqlens, parameters, dropout)?;
        let zeros = Var::constant(Array::new(vec![0.0; self.hidden_size], (1, self.hidden_size))?);
        let n_tokens = cu_seqlens.last().copied().unwrap_or(0);
        let end = |reversed: bool, rows: &[u32]| match rows[1] - rows[0] {
            0 => n_tokens,
            _ if reversed => rows[0],
            _ => rows[1] - 1,
        };
        let ends = |(y, direction): (&Var, &Direction)| {
            let rows: Vec<u32> = cu_seqlens.windows(2).map(|rows| end(direction.reversed, rows)).collect();
            stacked_rows(&[y, &zeros], rows.into())
        };
        side_by_side(&directions.iter().zip(&self.layers[0]).map(ends).collect::<Result<Vec<_>>>()?)
    }

    /// Outputs `[T, H]` of each direction of the last layer.
    fn directions(
        &self,
        x: &Var,
        cu_seqlens: &[u32],
        parameters: &Parameters,
        drop: Option<RecurrentDropout>,
    ) -> Result<Vec<Var>> {
        let (t, d) = x.array().dims2()?;
        let fits = cu_seqlens.first() == Some(&0) && cu_seqlens.is_sorted() && cu_seqlens.last() == Some(&(t as u32));
        if d != self.input_size || !fits {
            let expected = self.input_size;
            return Err(Error::internal(format!(
                "recurrent layer: got x [{t}, {d}] and sequences {cu_seqlens:?}, expected [_, {expected}] and their ends"
            )));
        }
        let mut outputs = vec![x.clone()];
        for (i, layer) in self.layers.iter().enumerate() {
            let mut x = side_by_side(&outputs)?;
            if let Some(RecurrentDropout { p, key }) = drop.filter(|_| i > 0) {
                x = dropout(&x, Dropout::new(p, key.child(i as u64)))?;
            }
            let run =
                |direction: &Direction| direction.forward(self.cell, &x, cu_seqlens, parameters, self.hidden_size);
            outputs = layer.iter().map(run).collect::<Result<_>>()?;
        }
        Ok(outputs)
    }
}

impl Direction {
    fn new(name: &str, cell: Cell, sizes: [usize; 2], layer: usize, reversed: bool) -> Self {
        let suffix = format!("_l{layer}{}", if reversed { "_reverse" } else { "" });
        let called = |part: &str| format!("{name}.{part}{suffix}");
        let parameters = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(called);
        let function = {
            let (name, suffix) = (name.to_string(), suffix.clone());
            CandleFunction::new(format!("{name}{suffix}"), move |tensors| {
                // candle-nn looks parameters up by the names of layer 0.
                let (name, suffix) = (name.clone(), suffix.clone());
                let rename = move |asked: &str| format!("{name}.{}{suffix}", asked.trim_end_matches("_l0"));
                let parameters = tensors.var_builder().rename_f(rename);
                match cell {
                    Cell::Lstm => {
                        let lstm = candle_nn::lstm(sizes[0], sizes[1], LSTMConfig::default(), parameters)?;
                        steps(cell, tensors, |x, states| {
                            let next = lstm.step(x, &LSTMState::new(states[0].clone(), states[1].clone()))?;
                            Ok(vec![next.h, next.c])
                        })
                    }
                    Cell::Gru => {
                        let gru = candle_nn::gru(sizes[0], sizes[1], GRUConfig::default(), parameters)?;
                        steps(cell, tensors, |x, states| Ok(vec![gru.step(x, &GRUState { h: states[0].clone() })?.h]))
                    }
                }
            })
        };
        Self { reversed, parameters, input_size: sizes[0], function }
    }

    /// Runs one direction of one layer: `x [T, D]` to `[T, H]`.
    fn forward(
        &self,
        cell: Cell,
        x: &Var,
        cu_seqlens: &[u32],
        parameters: &Parameters,
        hidden_size: usize,
    ) -> Result<Var> {
        let mut order = TimeSteps::new(cu_seqlens, self.reversed);
        if order.sizes.is_empty() {
            // Without tokens run one step on zeros and discard its output, so that parameters get zero gradients.
            (order.rows, order.sizes) = (vec![0], vec![1]);
        }
        let zeros = |rows: usize, columns: usize| {
            Ok::<_, Error>(Var::constant(Array::new(vec![0.0; rows * columns], (rows, columns))?))
        };
        let padding = zeros(1, self.input_size)?;
        let mut states =
            cell.states().iter().map(|_| zeros(order.sizes[0], hidden_size)).collect::<Result<Vec<_>>>()?;
        // `places` counts output rows only; in the chunks' outputs further states follow, which `shifts` skips.
        let (mut outputs, mut shifts, mut first, mut shift) = (Vec::new(), Vec::new(), 0, 0);
        for sizes in order.sizes.chunks(CHUNK_STEPS) {
            let n: usize = sizes.iter().sum();
            let rows = stacked_rows(&[x, &padding], order.rows[first..first + n].into())?;
            let mut values = vec![("x", &rows)];
            values.extend(cell.states().iter().copied().zip(&states));
            for name in &self.parameters {
                values.push((name, parameters.value(name)?));
            }
            let steps: Vec<u32> = sizes.iter().map(|&n| n as u32).collect();
            let steps = Tensor::from_vec(steps, sizes.len(), &Device::Cpu)?;
            let output = self.function.apply(&values, &[("steps", steps)])?;
            let last = sizes[sizes.len() - 1];
            first += n;
            if let Some(&next) = order.sizes.get(outputs.len() * CHUNK_STEPS + sizes.len()) {
                let part = |state: usize| -> Arc<[u32]> {
                    let from = (n - last + state * last) as u32;
                    (from..from + next as u32).collect()
                };
                states = (0..states.len()).map(|state| embedding(&output, part(state))).collect::<Result<_>>()?;
            }
            shifts.resize(first, shift as u32);
            shift += last * (cell.states().len() - 1);
            outputs.push(output);
        }
        let place = |&place: &u32| place + shifts[place as usize];
        stacked_rows(&outputs.iter().collect::<Vec<_>>(), order.places.iter().map(place).collect())
    }
}

/// Runs `step(x, states)` over the rows of `x`, where step `t` has `steps[t]` rows. Returns the outputs of all steps
/// concatenated, followed by the other states of the last step (`c` of an LSTM).
fn steps(
    cell: Cell,
    tensors: &Tensors,
    step: impl Fn(&Tensor, &[Tensor]) -> candle_core::Result<Vec<Tensor>>,
) -> candle_core::Result<Tensor> {
    let x = tensors.get("x")?;
    let named = |name: &&str| tensors.get(name).cloned();
    let mut states = cell.states().iter().map(named).collect::<candle_core::Result<Vec<_>>>()?;
    let (mut rows, mut first) = (Vec::new(), 0);
    for n in tensors.get("steps")?.to_dtype(DType::U32)?.to_vec1::<u32>()? {
        let n = n as usize;
        let going = states.iter().map(|state| state.narrow(0, 0, n)).collect::<candle_core::Result<Vec<_>>>()?;
        states = step(&x.narrow(0, first, n)?, &going)?;
        rows.push(states[0].clone());
        first += n;
    }
    rows.extend_from_slice(&states[1..]);
    Tensor::cat(&rows, 0)
}
