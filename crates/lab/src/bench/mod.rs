//! Benchmarks of the whole: scenarios of any size, and the figures they give.
//! It never asserts a time; machines differ, and ratios are what may be compared.

pub mod agent;
pub mod desired;
mod feed_ear;
mod feed_path;
pub mod fleet;
pub mod process;
pub mod resync;
pub mod storm;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// The benchmark.
    pub bench: String,
    /// What was measured.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What the ratio compares with: a peer or a limit measured in the same run, or the aim that
    /// the project has set itself.
    pub peer: String,
    /// The value as a multiple of the peer's.
    pub ratio: f64,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
struct Peer<'a> {
    name: &'a str,
    value: f64,
}

impl Figure {
    fn new(bench: &str, metric: impl Into<String>, value: f64, unit: &str, peer: Peer<'_>) -> Self {
        Self {
            bench: bench.to_owned(),
            metric: metric.into(),
            value,
            unit: unit.to_owned(),
            peer: peer.name.to_owned(),
            ratio: value / peer.value,
        }
    }
}

/// The middle, the slow end and the slowest of some values.
#[derive(Clone, Copy, Debug)]
struct Percentiles {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Percentiles {
    /// Of values in any order; not-a-number where there are none.
    fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let at = |share: usize| values.get((values.len() * share / 100).min(last));
        let or_none = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Self {
            p50: or_none(at(50)),
            p99: or_none(at(99)),
            max: or_none(values.last()),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();

        let of = Percentiles::of(&mut values);

        assert!((of.p50 - 101.0).abs() < 1e-9, "{of:?}");
        assert!((of.p99 - 199.0).abs() < 1e-9, "{of:?}");
        assert!((of.max - 200.0).abs() < 1e-9, "{of:?}");
        assert!(Percentiles::of(&mut []).p50.is_nan());
    }
}
