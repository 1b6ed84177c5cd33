//! The concurrency limit: how many attempts may be in flight, either fixed or learned from the API's responses.
//!
//! # Algorithm
//!
//! Responses are grouped into *rounds*, each at least one round trip and `MIN_ROUND_RESPONSES` responses long. The
//! geometric mean of a round's latency is compared to the *baseline*, which follows lower rounds quickly and higher
//! ones slowly.
//! - A round that used the whole limit and was not slow raises the limit by a quarter of its square root.
//! - The limit falls to `DECREASE_FACTOR` after a slow round (a queue grows in the API), after a round of which more
//!   than a third failed, and after a [`Sample::Overload`], at most once in two round trips. A round is slow when its
//!   latency exceeds the baseline by `SLOW_FACTOR`, by more than its own noise, and by `MIN_SLOWDOWN`.
//! - If latency stays high although the limit has fallen, load was not the cause: it becomes the new baseline.
//!
//! Slow start, in both modes, first and after [`ConcurrencyLimit::restart`]: `SLOW_START_LIMIT` attempts, one more with
//! each success (doubling per round trip), up to the former limit or until a decrease.
//!
//! # Invariants
//!
//! - A learned limit stays between floor and ceiling, except for a slow start below the floor.
//! - It grows only while it is fully used.
//! - Rejected commands do not move it, nor do single failures: fewer attempts in flight would not prevent those.
//!
//! # Limits
//!
//! - An API that sheds load with failures instead of 429 settles where about a quarter of its responses fail.
//! - An API slowed down by other clients looks like one slowed down by this daemon, which then takes its share.
//! - With few attempts a second a round takes long, and so does learning.

mod round;

use std::time::Duration;

use self::round::Round;

/// Attempts in flight at the begin of a slow start.
const SLOW_START_LIMIT: f64 = 4.0;
/// The least responses in a round: fewer give no reliable latency.
const MIN_ROUND_RESPONSES: u32 = 16;
/// The slowdown that counts as a queue. With a capacity of 64, about 16 requests are queued in the API then.
const SLOW_FACTOR: f64 = 1.25;
/// A smaller slowdown may come from this machine, not from the API.
const MIN_SLOWDOWN: Duration = Duration::from_millis(10);
/// What a decrease leaves. Less than `1 / SLOW_FACTOR`, so that the queue disappears and the baseline is measured
/// again.
const DECREASE_FACTOR: f64 = 0.75;
/// The share of the difference by which the baseline follows a slower round.
const BASELINE_RISE: f64 = 0.005;
/// The share of the difference by which the baseline follows a faster round, which may be one by chance.
const BASELINE_FALL: f64 = 0.25;

/// What an attempt shows of the API's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Delivered: its latency counts.
    Delivered,
    /// Throttled: overload.
    Overload,
    /// A timeout, a broken connection or a failure of the API: overload if many fail.
    Failed,
    /// Rejected or unauthorized: shows nothing.
    Neutral,
}

/// What has been learned of the API's latency.
#[derive(Clone, Copy, Debug)]
struct LearnedLatency {
    baseline_s: f64,
    /// The slow rounds since the latest fast one: the limit before the first of them, and their highest latency in
    /// seconds.
    slow_period: Option<(f64, f64)>,
}

/// The limit and the attempts in flight. Times are durations since a fixed start on a monotonic clock.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    floor: f64,
    ceiling: f64,
    /// Between floor and ceiling.
    limit: f64,
    /// The lower limit of a slow start in progress.
    slow_start: Option<f64>,
    in_flight: usize,
    round: Round,
    was_saturated: bool,
    learned: Option<LearnedLatency>,
    /// No further decrease before this: the attempts in flight may still suffer from the former limit.
    decrease_not_before: Duration,
}

impl ConcurrencyLimit {
    /// Creates a limit that is `limit`, at least one, after the slow start.
    #[must_use]
    pub fn fixed(limit: usize) -> Self {
        Self::adaptive(limit, limit)
    }

    /// Creates a limit that learns between floor and ceiling, both at least one.
    #[must_use]
    pub fn adaptive(floor: usize, ceiling: usize) -> Self {
        let whole = |n: usize| f64::from(u32::try_from(n.max(1)).unwrap_or(u32::MAX));
        let (floor, ceiling) = (whole(floor), whole(ceiling).max(whole(floor)));
        Self {
            floor,
            ceiling,
            limit: ceiling,
            slow_start: slow_start_below(ceiling),
            in_flight: 0,
            round: Round::default(),
            was_saturated: false,
            learned: None,
            decrease_not_before: Duration::ZERO,
        }
    }

    /// Returns how many attempts may be in flight now.
    #[must_use]
    pub fn current(&self) -> usize {
        to_count(self.slow_start.map_or(self.limit, |limit| limit.min(self.limit)))
    }

    /// Returns how many attempts may be in flight after the slow start.
    #[must_use]
    pub fn target(&self) -> usize {
        to_count(self.limit)
    }

    /// Returns how many attempts are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more attempt may start.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.current()
    }

    /// Restarts the slow start, up to the current limit: the gate has opened, and the API's capacity is unknown.
    pub fn restart(&mut self, now: Duration) {
        self.slow_start = slow_start_below(self.limit);
        self.round = Round::starting_at(now);
    }

    /// Counts an attempt that starts.
    pub fn start_attempt(&mut self, now: Duration) {
        if self.in_flight == 0 {
            self.round = Round::starting_at(now);
        }
        self.in_flight += 1;
        self.round.is_saturated |= self.in_flight >= self.current();
    }

    /// Counts an attempt that ended after `latency`, and learns from it.
    pub fn finish_attempt(&mut self, now: Duration, latency: Duration, sample: Sample) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match sample {
            Sample::Neutral => {}
            Sample::Overload => self.decrease(now),
            Sample::Failed => {
                self.round.failed += 1;
                self.end_round_if_due(now, latency);
            }
            Sample::Delivered => {
                self.round.add_delivered(latency);
                if self.round.is_saturated || self.was_saturated {
                    self.slow_start = self.slow_start.map(|limit| limit + 1.0).filter(|limit| *limit < self.limit);
                }
                self.end_round_if_due(now, latency);
            }
        }
    }

    fn end_round_if_due(&mut self, now: Duration, latency: Duration) {
        let round_trip = self.learned.map_or(latency, |learned| Duration::from_secs_f64(learned.baseline_s));
        let Round { began, delivered, failed, .. } = self.round;
        if delivered + failed < MIN_ROUND_RESPONSES || now.saturating_sub(began) < round_trip {
            return;
        }
        if failed * 2 > delivered {
            self.decrease(now);
            self.round = Round::starting_at(now);
        } else {
            self.end_round(now);
        }
    }

    fn end_round(&mut self, now: Duration) {
        let round = std::mem::replace(&mut self.round, Round::starting_at(now));
        self.was_saturated = round.is_saturated;
        let latency_s = round.latency_s();
        let mut learned = self.learned.unwrap_or(LearnedLatency { baseline_s: latency_s, slow_period: None });
        let is_slow = latency_s > learned.baseline_s * SLOW_FACTOR * round.noise_factor()
            && latency_s > learned.baseline_s + MIN_SLOWDOWN.as_secs_f64();
        let share = if latency_s < learned.baseline_s { BASELINE_FALL } else { BASELINE_RISE };
        learned.baseline_s += share * (latency_s - learned.baseline_s);
        if is_slow {
            learned = self.slow_round(now, latency_s, learned);
        } else {
            learned.slow_period = None;
            if round.is_saturated && self.slow_start.is_none() {
                self.limit = (self.limit + (self.limit.sqrt() / 4.0).max(1.0)).min(self.ceiling);
            }
        }
        self.learned = Some(learned);
    }

    /// Decreases the limit; after two decreases that did not lower the latency, accepts it as the baseline instead.
    fn slow_round(&mut self, now: Duration, latency_s: f64, learned: LearnedLatency) -> LearnedLatency {
        let limit = self.slow_start.unwrap_or(self.limit);
        let (limit_before, highest_s) = learned.slow_period.unwrap_or((limit, latency_s));
        if limit <= limit_before * DECREASE_FACTOR * DECREASE_FACTOR && latency_s > highest_s * 0.9 {
            return LearnedLatency { baseline_s: latency_s, slow_period: None };
        }
        self.decrease(now);
        LearnedLatency { slow_period: Some((limit_before, highest_s.max(latency_s))), ..learned }
    }

    /// Takes a fraction off the current limit, unless a decrease took place within the last two round trips.
    fn decrease(&mut self, now: Duration) {
        if now < self.decrease_not_before {
            return;
        }
        let decreased = self.slow_start.unwrap_or(self.limit) * DECREASE_FACTOR;
        self.limit = decreased.clamp(self.floor, self.ceiling);
        self.slow_start = self.slow_start.map(|_| decreased.max(1.0)).filter(|limit| *limit < self.limit);
        // The API serves what it has queued at the former limit first.
        let pause_s = self.learned.map_or(0.1, |learned| learned.baseline_s * 2.0);
        self.decrease_not_before = now.saturating_add(Duration::try_from_secs_f64(pause_s).unwrap_or_default());
        self.round = Round::starting_at(now);
    }
}

fn slow_start_below(limit: f64) -> Option<f64> {
    Some(SLOW_START_LIMIT).filter(|start| *start < limit)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
fn to_count(limit: f64) -> usize {
    limit.max(1.0) as usize
}

#[cfg(test)]
mod tests;
