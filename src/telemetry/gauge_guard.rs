//! A gauge that counts live values.

use prometheus::IntGauge;

/// Increments a gauge until it is dropped.
#[derive(Debug)]
#[must_use = "the gauge is decremented when the guard is dropped"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(in crate::telemetry) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
