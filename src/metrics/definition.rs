//! What a metric is called, what it tells, and what somebody does who reads it: said once, for the library and the page.

use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) what_to_do: &'static str,
}

/// A metric with its definition.
pub(super) type Defined = (&'static Definition, Box<dyn Collector>);

impl Definition {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    pub(super) fn counter(&self) -> Result<IntCounterVec, Error> {
        IntCounterVec::new(self.opts(), self.labels)
    }

    pub(super) fn gauge(&self) -> Result<GaugeVec, Error> {
        GaugeVec::new(self.opts(), self.labels)
    }

    pub(super) fn int_gauge(&self) -> Result<IntGaugeVec, Error> {
        IntGaugeVec::new(self.opts(), self.labels)
    }

    /// `buckets`: the upper bounds in seconds.
    pub(super) fn histogram(&self, buckets: &[f64]) -> Result<HistogramVec, Error> {
        let opts = HistogramOpts::new(self.name, self.help).buckets(buckets.to_vec());
        HistogramVec::new(opts, self.labels)
    }

    pub(super) fn with(&'static self, collector: impl Collector + 'static) -> Defined {
        (self, Box::new(collector))
    }
}

/// From a quick read to the longest call that has a deadline, in seconds.
pub(super) const OF_A_REQUEST: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// From no wait at all to the time in which a thousand clusters are made, in seconds.
pub(super) const OF_A_TURN: [f64; 9] = [0.01, 0.1, 0.5, 2.0, 5.0, 15.0, 60.0, 300.0, 1200.0];

/// What Azure takes for its long-running operations and clusters for their starts: from seconds to an hour.
pub(super) const UP_TO_AN_HOUR: [f64; 12] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
];
