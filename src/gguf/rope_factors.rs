//! The tensor `rope_freqs.weight` of Llama 3.1 and later: the divisor of each rotary frequency. llama.cpp's converter
//! computes it from `rope_scaling` and writes it instead of those settings.

use std::f64::consts::PI;

use serde_json::{Value, json};

use super::reader::Checked;

pub(super) const NAME: &str = "rope_freqs.weight";

/// Settings that all models with this tensor share (`rope_scaling` in their `config.json`); only the factor differs.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: f64 = 8192.0;

/// The `rope_scaling` that gives these divisors of the rotary frequencies with base `theta`; null if all divisors are
/// 1.
pub(super) fn scaling(divisors: &[f32], theta: f64) -> Checked<Value> {
    let factor = divisors.iter().fold(1f32, |largest, &divisor| largest.max(divisor));
    let pairs = divisors.len() as f64;
    let is_so = divisors.iter().enumerate().all(|(i, &divisor)| {
        let wavelength = 2.0 * PI * theta.powf(i as f64 / pairs);
        (f64::from(divisor) / expected(wavelength, factor.into()) - 1.0).abs() < 1e-3
    });
    match (is_so, factor) {
        (true, 1.0) => Ok(Value::Null),
        (true, _) => Ok(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
            "original_max_position_embeddings": ORIGINAL as u32,
        })),
        (false, _) => {
            Err(format!("stretches its positions ({NAME}) in another way than Llama 3 does, which is not supported"))
        }
    }
}

fn expected(wavelength: f64, factor: f64) -> f64 {
    if wavelength < ORIGINAL / HIGH {
        1.0
    } else if wavelength > ORIGINAL / LOW {
        factor
    } else {
        let smooth = (ORIGINAL / wavelength - LOW) / (HIGH - LOW);
        1.0 / ((1.0 - smooth) / factor + smooth)
    }
}
