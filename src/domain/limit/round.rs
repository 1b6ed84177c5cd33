//! Latency statistics of one round: the responses of about one round trip.

use std::time::Duration;

/// The responses since `began`. Latencies are averaged geometrically, so that one slow response counts little.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) began: Duration,
    /// Delivered attempts; only their latency counts.
    pub(super) delivered: u32,
    pub(super) failed: u32,
    /// The in-flight attempts reached the limit.
    pub(super) is_saturated: bool,
    /// The sums of ln(latency in seconds) and of its square.
    log_sum: f64,
    log_square_sum: f64,
}

impl Round {
    pub(super) fn starting_at(began: Duration) -> Self {
        Self { began, ..Self::default() }
    }

    pub(super) fn add_delivered(&mut self, latency: Duration) {
        let log = latency.as_secs_f64().max(1e-6).ln();
        self.delivered += 1;
        self.log_sum += log;
        self.log_square_sum += log * log;
    }

    fn log_mean(&self) -> f64 {
        self.log_sum / f64::from(self.delivered.max(1))
    }

    /// The geometric mean of the latencies, in seconds.
    pub(super) fn latency_s(&self) -> f64 {
        self.log_mean().exp()
    }

    /// The factor by which chance alone may raise the mean: two standard errors.
    pub(super) fn noise_factor(&self) -> f64 {
        let delivered = f64::from(self.delivered.max(1));
        let variance = (self.log_square_sum / delivered - self.log_mean().powi(2)).max(0.0);
        (2.0 * (variance / delivered).sqrt()).exp()
    }
}
