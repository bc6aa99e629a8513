//! Gauges that are looked up whenever Prometheus asks.

use std::sync::Mutex;

use prometheus::GaugeVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::definition::Definition;

/// The values of a gauge as they are now: of its labels, and the number.
pub(super) type Values = Vec<(Vec<&'static str>, f64)>;

pub(super) struct Now {
    gauge: GaugeVec,
    read: Box<dyn Fn() -> Values + Send + Sync>,
    /// Two scrapes at once would take each other's series away.
    turn: Mutex<()>,
}

impl Now {
    pub(super) fn new(
        definition: &Definition,
        read: impl Fn() -> Values + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            gauge: definition.gauge()?,
            read: Box::new(read),
            turn: Mutex::new(()),
        })
    }
}

impl Collector for Now {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _turn = self.turn.lock();
        self.gauge.reset();
        for (labels, value) in (self.read)() {
            self.gauge.with_label_values(&labels).set(value);
        }
        self.gauge.collect()
    }
}
