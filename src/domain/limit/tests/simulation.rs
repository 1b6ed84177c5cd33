//! A simulated API, and as many callers as the limit allows: nothing but arithmetic, so every run is the same.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::domain::limit::{ConcurrencyLimit, Sample};

const THROTTLED: (Sample, f64) = (Sample::Overload, 0.005);

/// How an API answers.
#[derive(Clone, Copy)]
pub(super) struct Api {
    trip_s: f64,
    /// So many at once are served in that time; with more, each waits as in a queue.
    capacity: f64,
    /// More than so many are refused, like this, after so long.
    most: f64,
    refusal: (Sample, f64),
    is_noisy: bool,
}

impl Api {
    pub(super) fn queueing(capacity: f64) -> Self {
        Self { trip_s: 0.05, capacity, most: capacity * 100.0 / 64.0, refusal: THROTTLED, is_noisy: false }
    }

    pub(super) fn boundless() -> Self {
        Self { trip_s: 0.05, capacity: f64::INFINITY, most: f64::INFINITY, refusal: THROTTLED, is_noisy: false }
    }

    /// Has no queue: what is too much fails, as with a 503.
    pub(super) fn shedding(capacity: f64) -> Self {
        Self { trip_s: 0.05, capacity, most: capacity, refusal: (Sample::Failed, 0.02), is_noisy: false }
    }

    pub(super) fn noisy(self) -> Self {
        Self { is_noisy: true, ..self }
    }

    /// Whatever the load.
    pub(super) fn slower(self, times: f64) -> Self {
        Self { trip_s: self.trip_s * times, ..self }
    }

    /// What an attempt meets that is one of `in_flight`.
    fn answer(&self, in_flight: f64, random_unit: &mut fastrand::Rng) -> (f64, Sample) {
        if in_flight > self.most {
            return (self.refusal.1, self.refusal.0);
        }
        let normal = (-2.0 * (1.0 - random_unit.f64()).ln()).sqrt() * (std::f64::consts::TAU * random_unit.f64()).cos();
        // The 99th percentile is 2.326 deviations from the median.
        let noise = if self.is_noisy { (normal * 4.0_f64.ln() / 2.326).exp() } else { 1.0 };
        (self.trip_s * (in_flight / self.capacity).max(1.0) * noise, Sample::Delivered)
    }
}

/// A stretch of the simulated time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    delivered: f64,
    overloads: f64,
    seconds: f64,
    /// In the mean.
    pub(super) limit: f64,
}

impl Stretch {
    pub(super) fn per_second(&self) -> f64 {
        self.delivered / self.seconds
    }

    /// The share of refused answers.
    pub(super) fn throttled(&self) -> f64 {
        self.overloads / (self.delivered + self.overloads).max(1.0)
    }
}

/// Second by second.
#[derive(Debug)]
pub(super) struct Report(Vec<Stretch>);

impl Report {
    pub(super) fn between(&self, from_s: usize, to_s: usize) -> Stretch {
        let mut sum = Stretch::default();
        for second in &self.0[from_s..to_s] {
            sum.delivered += second.delivered;
            sum.overloads += second.overloads;
            sum.seconds += 1.0;
            sum.limit += second.limit / (to_s - from_s) as f64;
        }
        sum
    }
}

/// Runs `limit` for so many seconds against what `api` is at each moment.
pub(super) fn run(mut limit: ConcurrencyLimit, api: impl Fn(f64) -> Api, seconds: usize, seed: u64) -> Report {
    let mut random_unit = fastrand::Rng::with_seed(seed);
    let mut report = vec![Stretch::default(); seconds];
    // (when it ends, latency, whether it is delivered); nanoseconds.
    let mut flights = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        while limit.has_room() {
            limit.start_attempt(now);
            let (latency_s, sample) = api(now.as_secs_f64()).answer(limit.in_flight() as f64, &mut random_unit);
            let latency = Duration::from_secs_f64(latency_s);
            flights.push(Reverse((now + latency, latency, sample == Sample::Delivered)));
        }
        let Some(Reverse((then, latency, is_delivered))) = flights.pop() else { panic!("nothing is under way") };
        now = then;
        let Some(second) = usize::try_from(now.as_secs()).ok().and_then(|second| report.get_mut(second)) else {
            return Report(report);
        };
        let sample = if is_delivered { Sample::Delivered } else { api(now.as_secs_f64()).refusal.0 };
        match sample {
            Sample::Delivered => second.delivered += 1.0,
            _ => second.overloads += 1.0,
        }
        limit.finish_attempt(now, latency, sample);
        second.limit = limit.current() as f64;
    }
}
