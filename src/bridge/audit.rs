//! Checks of candle functions for faults that candle does not report: random outputs, and missing or wrong gradients.
//!
//! Gradients are compared with central differences of the same function in f64, for the loss `sum(w y)` with fixed
//! random weights `w`, along one random direction of all inputs at once. Checking that an input gets some gradient is
//! not enough: in `x + softmax_last_dim(x)` only one of the two paths is cut. Inputs are shifted by a hundredth of
//! their size first, because many functions have a kink at 0, where parameters often start.

use candle_core::{DType, Tensor, Var as CandleVar};

use super::tensors::{Leaf, Tensors};
use crate::error::{Error, Result, without_backtrace};
use crate::rng::{Key, Stream};

/// Largest accepted error of a gradient, relative to its size.
const TOLERANCE: f64 = 0.01;
/// Step size of the central differences, relative to the inputs.
const STEP: f64 = 1e-6;

/// Error for a function that failed.
pub(super) fn failed(function: &str, error: candle_core::Error) -> Error {
    Error::internal(format!("{function}: {}", without_backtrace(error)))
}

/// Error for an input that got no gradient.
pub(super) fn stopped(function: &str, input: &str) -> Error {
    Error::internal(format!(
        "{function}: no gradient reaches {input:?}: it is not used, or only through operations without a backward (fused \
         LayerNorm, RmsNorm, softmax_last_dim and rotary_emb of candle-nn); compose them of others, or leave the input out"
    ))
}

/// Return an error if two runs on the same inputs gave different outputs.
pub(super) fn check_repeatable(function: &str, first: &Tensor, second: &Tensor) -> Result<()> {
    let (first, second) = (first.flatten_all()?.to_vec1::<f32>()?, second.flatten_all()?.to_vec1::<f32>()?);
    match first.iter().zip(&second).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None if first.len() == second.len() => Ok(()),
        at => Err(Error::internal(format!(
            "{function}: two runs on the same inputs differ, first at value {} of {}: it draws random numbers, which candle \
             cannot seed; give masks of dropout as inputs",
            at.unwrap_or(0),
            first.len()
        ))),
    }
}

/// Return an error if candle's graph does not connect the output to every input that wants a gradient.
pub(super) fn check_reached(function: &str, output: &Tensor, leaves: &[Leaf]) -> Result<()> {
    let reached: Vec<_> = output.sorted_nodes().into_iter().map(Tensor::id).collect();
    match leaves.iter().find(|leaf| leaf.wanted && !reached.contains(&leaf.tensor.id())) {
        None => Ok(()),
        Some(leaf) => Err(stopped(function, &leaf.name)),
    }
}

/// Return an error if candle's gradients differ from central differences. Passes if the loss is not finite.
pub(super) fn check_gradients(
    name: &str,
    function: &dyn Fn(&Tensors) -> candle_core::Result<Tensor>,
    leaves: &[Leaf],
    constants: &[(&str, Tensor)],
    output: &[usize],
) -> Result<()> {
    let weights = random("output", output)?;
    let loss = |inputs: &[Tensor]| -> candle_core::Result<Tensor> {
        let named = leaves.iter().zip(inputs).map(|(leaf, tensor)| (&*leaf.name, tensor.clone()));
        let all = named.chain(constants.iter().map(|(name, tensor)| (*name, tensor.clone())));
        (function(&Tensors::new(all, DType::F64)?)? * &weights)?.sum_all()
    };
    let points = leaves.iter().map(point).collect::<Result<Vec<_>>>()?;
    let values: Vec<Tensor> = points.iter().map(|point| point.value.clone()).collect();
    let value = loss(&values).map_err(|error| failed(name, error))?;
    let mut gradients = value.backward()?;
    // For each input: the sum of gradient * direction (the slope of the loss), and the sum of its squared terms.
    let mut slopes = vec![[0.0; 2]; leaves.len()];
    for (slope, (leaf, point)) in slopes.iter_mut().zip(leaves.iter().zip(&points)).filter(|(_, (leaf, _))| leaf.wanted)
    {
        let gradient = gradients.remove(&point.value).ok_or_else(|| stopped(name, &leaf.name))?;
        let terms = (gradient * &point.direction)?;
        let sum = |terms: Tensor| terms.sum_all()?.to_scalar::<f64>();
        *slope = [sum(terms.clone())?, sum(terms.sqr()?)?];
    }
    let value = value.to_scalar::<f64>()?;
    // Compares slopes along the directions of the `moved` inputs. Returns candle's and the measured slope if they
    // differ.
    let slope = |moved: &dyn Fn(usize) -> bool| -> Result<Option<[f64; 2]>> {
        let at = |step: f64| -> candle_core::Result<f64> {
            let shifted = |(i, point): (usize, &Point)| {
                let value = point.value.detach();
                if moved(i) { value + (&point.direction * step)? } else { Ok(value) }
            };
            loss(&points.iter().enumerate().map(shifted).collect::<candle_core::Result<Vec<_>>>()?)?.to_scalar()
        };
        let measured = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
        let given: f64 = slopes.iter().enumerate().filter(|(i, _)| moved(*i)).map(|(_, slope)| slope[0]).sum();
        let size: f64 = slopes.iter().enumerate().filter(|(i, _)| moved(*i)).map(|(_, slope)| slope[1]).sum();
        let allowed = TOLERANCE * size.sqrt() + 1e-8 * value.abs();
        Ok(((measured - given).abs() > allowed).then_some([given, measured]))
    };
    if !value.is_finite() {
        return Ok(());
    }
    let Some([given, measured]) = slope(&|i| leaves[i].wanted)? else { return Ok(()) };
    let mut wrong = Vec::new();
    for (i, leaf) in leaves.iter().enumerate().filter(|(_, leaf)| leaf.wanted) {
        if slope(&|j| j == i)?.is_some() {
            wrong.push(leaf.name.as_str());
        }
    }
    Err(Error::internal(format!(
        "{name}: the gradients of {wrong:?} are not those of the function: a slope is {given:.6} by them and {measured:.6} by \
         differences; an operation on the way has no backward (fused LayerNorm, RmsNorm, softmax_last_dim and rotary_emb of \
         candle-nn, detach) or a wrong one (conv1d): compose it of others"
    )))
}

/// The point at which an input is differentiated, and the direction, both in f64.
struct Point {
    value: Tensor,
    direction: Tensor,
}

fn point(leaf: &Leaf) -> Result<Point> {
    let value = leaf.tensor.detach().to_dtype(DType::F64)?;
    let size = value.sqr()?.sum_all()?.to_scalar::<f64>()? / value.elem_count().max(1) as f64;
    let scale = size.sqrt() + 0.01;
    let direction = (random(&leaf.name, value.dims())? * scale)?;
    if !leaf.wanted {
        return Ok(Point { value, direction });
    }
    let shifted = (value + (random(&format!("{} shift", leaf.name), direction.dims())? * (0.01 * scale))?)?;
    Ok(Point { value: CandleVar::from_tensor(&shifted)?.into_inner(), direction })
}

/// Standard normal values, seeded by the name.
fn random(name: &str, shape: &[usize]) -> Result<Tensor> {
    let values = Key::new(0, Stream::Init).named(name).normal(shape.iter().product(), 1.0);
    Ok(Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?.to_dtype(DType::F64)?)
}
