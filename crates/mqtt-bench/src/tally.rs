//! What one thread measures: times in histograms, so that no sample is kept and none is forgotten.

use std::cell::RefCell;
use std::rc::Rc;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The tally of a thread, shared by its tasks.
pub(crate) type SharedTally = Rc<RefCell<Tally>>;

/// Longest time that is told apart, in nanoseconds: an hour. Longer ones count as an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// Times in nanoseconds with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, NANOS_MAX, 3);
        Self(histogram.expect("1 to an hour with 3 digits is in the library's range"))
    }
}

impl Times {
    /// One sample.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Adds the samples of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the bounds of `default`.
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The time below which this share (0 to 1) of the samples lies, in microseconds.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The mean, in microseconds.
    pub(crate) fn mean_micros(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    /// The percentiles people ask for, by name, in microseconds.
    pub(crate) fn percentiles(&self) -> [(&'static str, f64); 6] {
        [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("p99.99", 0.9999),
            ("max", 1.0),
        ]
        .map(|(name, quantile)| (name, self.micros(quantile)))
    }

    /// The same for a program.
    pub(crate) fn json(&self) -> Value {
        let mut object = json!({ "count": self.len(), "mean_us": self.mean_micros() });
        for (name, micros) in self.percentiles() {
            object[format!("{}_us", name.replace('.', ""))] = json!(micros);
        }
        object
    }
}

/// All that a thread measures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// From due to arrival.
    pub(crate) latency: Times,
    /// From due to the end of the QoS 1 or 2 exchange with the broker.
    pub(crate) acknowledgements: Times,
    /// From due to CONNACK, or SUBACK where there is a subscription.
    pub(crate) connects: Times,
    /// From due to the moment the packet was made: this program's own share of the latency.
    pub(crate) lateness: Times,
    /// Messages of another run.
    pub(crate) strangers: u64,
}

impl Tally {
    /// Adds what another thread measured.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.acknowledgements.add(&other.acknowledgements);
        self.connects.add(&other.connects);
        self.lateness.add(&other.lateness);
        self.strangers += other.strangers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_two_threads() {
        let (mut first, mut second) = (Times::default(), Times::default());
        (1..=500).for_each(|it| first.record(it * 1000));
        (501..=1000).for_each(|it| second.record(it * 1000));
        first.add(&second);
        assert_eq!(first.len(), 1000);
        let near = |quantile, micros: f64| (first.micros(quantile) / micros - 1.0).abs() < 0.002;
        assert!(near(0.5, 500.0) && near(0.99, 990.0) && near(1.0, 1000.0), "{first:?}");
        assert_eq!(first.json()["count"], 1000);
        assert!(first.json()["p999_us"].as_f64().unwrap() >= 999.0);
    }

    #[test]
    fn a_time_beyond_the_bounds_is_kept_as_the_longest() {
        let mut times = Times::default();
        times.record(0);
        times.record(u64::MAX);
        assert_eq!(times.len(), 2);
        assert!(times.micros(1.0) >= NANOS_MAX as f64 / 1000.0);
    }
}
