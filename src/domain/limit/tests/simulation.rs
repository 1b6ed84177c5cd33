//! A simulated API with as many callers as the limit allows. Pure arithmetic, so every run is reproducible.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::domain::limit::{ConcurrencyLimit, Sample};

const THROTTLED: (Sample, f64) = (Sample::Overload, 0.005);

/// The latency and capacity of an API.
#[derive(Clone, Copy)]
pub(super) struct SimulatedApi {
    round_trip_s: f64,
    /// The in-flight requests from which on latency grows in proportion, as in a queue.
    capacity: f64,
    /// The in-flight requests from which on requests are refused.
    max_in_flight: f64,
    /// The sample and the latency in seconds of a refused request.
    refusal: (Sample, f64),
    is_noisy: bool,
}

impl SimulatedApi {
    pub(super) fn queueing(capacity: f64) -> Self {
        let max_in_flight = capacity * 100.0 / 64.0;
        Self { round_trip_s: 0.05, capacity, max_in_flight, refusal: THROTTLED, is_noisy: false }
    }

    pub(super) fn unlimited() -> Self {
        let (capacity, max_in_flight) = (f64::INFINITY, f64::INFINITY);
        Self { round_trip_s: 0.05, capacity, max_in_flight, refusal: THROTTLED, is_noisy: false }
    }

    /// Has no queue: requests above the capacity fail, as with a 503.
    pub(super) fn shedding(capacity: f64) -> Self {
        let refusal = (Sample::Failed, 0.02);
        Self { round_trip_s: 0.05, capacity, max_in_flight: capacity, refusal, is_noisy: false }
    }

    pub(super) fn noisy(self) -> Self {
        Self { is_noisy: true, ..self }
    }

    /// Raises the latency, whatever the load.
    pub(super) fn slower(self, factor: f64) -> Self {
        Self { round_trip_s: self.round_trip_s * factor, ..self }
    }

    /// The latency in seconds and the sample of a request that is the last of `in_flight`.
    fn respond(&self, in_flight: f64, random: &mut fastrand::Rng) -> (f64, Sample) {
        if in_flight > self.max_in_flight {
            return (self.refusal.1, self.refusal.0);
        }
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        // The 99th percentile is 2.326 standard deviations from the median.
        let noise = if self.is_noisy { (normal * 4.0_f64.ln() / 2.326).exp() } else { 1.0 };
        (self.round_trip_s * (in_flight / self.capacity).max(1.0) * noise, Sample::Delivered)
    }
}

/// The totals of an interval of simulated time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    delivered: f64,
    refused: f64,
    seconds: f64,
    /// The mean limit.
    pub(super) limit: f64,
}

impl Interval {
    /// Delivered attempts per second.
    pub(super) fn throughput(&self) -> f64 {
        self.delivered / self.seconds
    }

    pub(super) fn refused_share(&self) -> f64 {
        self.refused / (self.delivered + self.refused).max(1.0)
    }
}

/// One interval for each second.
#[derive(Debug)]
pub(super) struct Report(Vec<Interval>);

impl Report {
    pub(super) fn between(&self, from_s: usize, to_s: usize) -> Interval {
        let mut sum = Interval::default();
        for second in &self.0[from_s..to_s] {
            sum.delivered += second.delivered;
            sum.refused += second.refused;
            sum.seconds += 1.0;
            sum.limit += second.limit / (to_s - from_s) as f64;
        }
        sum
    }
}

/// Runs the limit for this many seconds against the API that `api` returns for each point in time.
pub(super) fn simulate(
    mut limit: ConcurrencyLimit,
    api: impl Fn(f64) -> SimulatedApi,
    seconds: usize,
    seed: u64,
) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut report = vec![Interval::default(); seconds];
    // Attempts in flight: end, latency, whether delivered.
    let mut in_flight = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        while limit.has_room() {
            limit.start_attempt(now);
            let (latency_s, sample) = api(now.as_secs_f64()).respond(limit.in_flight() as f64, &mut random);
            let latency = Duration::from_secs_f64(latency_s);
            in_flight.push(Reverse((now + latency, latency, sample == Sample::Delivered)));
        }
        let Some(Reverse((end, latency, is_delivered))) = in_flight.pop() else { panic!("no attempt in flight") };
        now = end;
        let Some(second) = usize::try_from(now.as_secs()).ok().and_then(|second| report.get_mut(second)) else {
            return Report(report);
        };
        let sample = if is_delivered { Sample::Delivered } else { api(now.as_secs_f64()).refusal.0 };
        match sample {
            Sample::Delivered => second.delivered += 1.0,
            _ => second.refused += 1.0,
        }
        limit.finish_attempt(now, latency, sample);
        second.limit = limit.current() as f64;
    }
}
