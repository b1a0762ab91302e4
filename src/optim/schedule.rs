//! Learning rate schedules: the factor of the peak rate at each step, as `transformers.get_scheduler` (5.x) computes
//! it.

use serde::Serialize;

/// Shape of the schedule after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Linear decay to 0.
    Linear,
    /// Half-cosine decay to 0.
    Cosine,
    Constant,
}

/// A schedule over a fixed number of optimiser steps.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub kind: ScheduleKind,
    pub warmup_steps: usize,
    pub total_steps: usize,
}

impl Schedule {
    /// Factor of the learning rate at `step`, counted from 0. Warm-up starts at 0.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let after = (self.total_steps.saturating_sub(self.warmup_steps)).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / after).min(1.0);
        match self.kind {
            ScheduleKind::Linear => 1.0 - progress,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            ScheduleKind::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_when_asked_over_a_run_rises_then_follows_its_kind() {
        let of = |kind| Schedule { kind, warmup_steps: 2, total_steps: 6 };
        let factors = |kind| (0..7).map(|s| of(kind).factor(s)).collect::<Vec<_>>();
        assert_eq!(factors(ScheduleKind::Linear), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(factors(ScheduleKind::Constant), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let cosine = factors(ScheduleKind::Cosine);
        assert!((cosine[4] - 0.5).abs() < 1e-12 && cosine[6].abs() < 1e-12);
        let none = Schedule { kind: ScheduleKind::Linear, warmup_steps: 0, total_steps: 1 };
        assert_eq!(none.factor(0), 1.0);
    }
}
