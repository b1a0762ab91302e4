//! Rotary position options: reads `rope_parameters` of a `config.json` (transformers 5), or `rope_theta` and
//! `rope_scaling` (transformers 4), into frequencies.

use std::f64::consts::PI;

use serde_json::{Map, Value};

use super::fields::{Checked, Fields};

/// Frequencies in radians per position, one for each pair of values of a head, and the factor on cosines and sines.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryOptions {
    pub frequencies: Vec<f64>,
    pub scale: f64,
}

impl RotaryOptions {
    /// The options for heads of `head_size` values, with the base `theta` and no scaling.
    pub(super) fn plain(head_size: usize, theta: f64) -> Self {
        let frequency = |i: usize| theta.powf(-2.0 * i as f64 / head_size as f64);
        Self { frequencies: (0..head_size / 2).map(frequency).collect(), scale: 1.0 }
    }

    /// Reads the fields at the top level of a configuration.
    pub(super) fn read(fields: &Fields, head_size: usize, theta: f64, max_positions: usize) -> Checked<Self> {
        let theta = fields.positive("rope_theta", theta)?;
        let new = fields.value("rope_parameters");
        // If both are present, `rope_scaling` wins, as in transformers 5.
        match fields.value("rope_scaling").or(new) {
            None => Ok(Self::plain(head_size, theta)),
            Some(Value::Object(parameters)) => Self::of(parameters, head_size, theta, max_positions),
            Some(other) => Err(format!("rope_parameters is {other}; expected an object")),
        }
    }

    /// Reads an object of parameters; `theta` is the default of `rope_theta`.
    pub(super) fn of(
        parameters: &Map<String, Value>,
        head_size: usize,
        theta: f64,
        max_positions: usize,
    ) -> Checked<Self> {
        let fields = Fields::new(parameters);
        let rotary = Self::scaled(&fields, head_size, theta, max_positions);
        let rotary = rotary.map_err(|e| format!("rope_parameters: {e}"))?;
        fields.finish().map_err(|e| format!("rope_parameters: {e}"))?;
        Ok(rotary)
    }

    fn scaled(fields: &Fields, head_size: usize, theta: f64, max_positions: usize) -> Checked<Self> {
        let theta = fields.positive("rope_theta", theta)?;
        let part = fields.positive("partial_rotary_factor", 1.0)?;
        let dims = (head_size as f64 * part) as usize;
        if part > 1.0 || !dims.is_multiple_of(2) || dims == 0 {
            return Err(format!("rotates {dims} of the {head_size} values of a head; expected an even number of them"));
        }
        let plain = Self::plain(dims, theta);
        let (new, old) = (fields.text("rope_type")?, fields.text("type")?);
        match new.or(old).unwrap_or("default") {
            "default" => Ok(plain),
            "linear" => {
                let factor = factor(fields)?;
                Ok(Self { frequencies: plain.frequencies.iter().map(|f| f / factor).collect(), ..plain })
            }
            "llama3" => Self::llama3(plain, fields, max_positions),
            "yarn" => Self::yarn(plain, fields, theta, max_positions),
            other => Err(format!("rope_type is {other:?}; supported: default, linear, llama3, yarn")),
        }
    }

    /// Llama 3.1: low frequencies divided by a factor, high ones kept, those between interpolated.
    fn llama3(plain: Self, fields: &Fields, max_positions: usize) -> Checked<Self> {
        let factor = factor(fields)?;
        let (low, high) = (fields.positive("low_freq_factor", 1.0)?, fields.positive("high_freq_factor", 4.0)?);
        let original = original_positions(fields, max_positions)?;
        if low >= high {
            return Err(format!("low_freq_factor {low} is not less than high_freq_factor {high}"));
        }
        let scaled = |&frequency: &f64| {
            let wavelength = 2.0 * PI / frequency;
            if wavelength < original / high {
                frequency
            } else if wavelength > original / low {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        };
        Ok(Self { frequencies: plain.frequencies.iter().map(scaled).collect(), ..plain })
    }

    /// YaRN (Peng et al. 2023), as transformers 5.23 computes it.
    fn yarn(plain: Self, fields: &Fields, theta: f64, max_positions: usize) -> Checked<Self> {
        let factor = factor(fields)?;
        if theta <= 1.0 {
            return Err(format!("rope_theta is {theta}; yarn expects more than 1"));
        }
        let original = original_positions(fields, max_positions)?;
        let (fast, slow) = (fields.positive("beta_fast", 32.0)?, fields.positive("beta_slow", 1.0)?);
        let truncate = fields.flag_or("truncate", true)?;
        let (mscale, mscale_all) = (fields.number_or("mscale", 0.0)?, fields.number_or("mscale_all_dim", 0.0)?);
        let scale_of = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let inferred =
            if mscale != 0.0 && mscale_all != 0.0 { scale_of(mscale) / scale_of(mscale_all) } else { scale_of(1.0) };
        let scale = fields.positive("attention_factor", inferred)?;
        let dims = 2.0 * plain.frequencies.len() as f64;
        let dimension = |rotations: f64| dims * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let (low, high) = (dimension(fast), dimension(slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dims - 1.0));
        let high = if low == high { high + 0.001 } else { high };
        let scaled = |(i, frequency): (usize, &f64)| {
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            frequency / factor * ramp + frequency * (1.0 - ramp)
        };
        Ok(Self { frequencies: plain.frequencies.iter().enumerate().map(scaled).collect(), scale })
    }
}

fn factor(fields: &Fields) -> Checked<f64> {
    match fields.value("factor") {
        Some(_) => fields.positive("factor", 1.0),
        None => Err("has no factor".into()),
    }
}

fn original_positions(fields: &Fields, max_positions: usize) -> Checked<f64> {
    match fields.count_or("original_max_position_embeddings", max_positions)? {
        0 => Err("original_max_position_embeddings is 0; expected at least 1".into()),
        positions => Ok(positions as f64),
    }
}
