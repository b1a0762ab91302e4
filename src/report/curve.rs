//! The loss curve of a run, sampled to a bounded size.

use serde::{Deserialize, Serialize};

use super::exact;
use super::record::Record;

/// Maximum number of points in a curve.
const MOST: usize = 1000;

/// A point of the loss curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub step: usize,
    #[serde(with = "exact")]
    pub epoch: f64,
    #[serde(with = "exact")]
    pub loss: f64,
}

/// Every `2^n`-th step, with the smallest `n` that gives at most `MOST` points. The steps in the curve depend only on
/// the number of the last one, so a run resumed from a checkpoint has the same curve as one that did not stop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve(pub Vec<Point>);

impl Curve {
    pub fn add(&mut self, record: &Record) {
        let stride = record.step.div_ceil(MOST).next_power_of_two();
        if self.0.len() == MOST {
            self.0.retain(|point| point.step.is_multiple_of(stride));
        }
        if record.step.is_multiple_of(stride) {
            self.0.push(Point { step: record.step, epoch: record.epoch, loss: record.loss });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curve_of_any_length_is_even_and_bounded() {
        let mut curve = Curve::default();
        for step in 1..=5003 {
            curve.add(&Record { step, ..Record::default() });
            assert!(curve.0.len() <= MOST);
            let stride = curve.0[0].step;
            assert!(curve.0.iter().enumerate().all(|(i, point)| point.step == stride * (i + 1)));
            assert!(step / stride == curve.0.len());
        }
        assert_eq!(curve.0.len(), 625);
    }
}
