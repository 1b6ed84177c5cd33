//! How many attempts may be under way: a fixed number, or one that learns what the API can take.
//!
//! # How it learns
//!
//! Answers are looked at in *rounds*, each about one round trip and at least [`ROUND_LEAST`] answers long. A round's
//! latency is the geometric mean, so one slow answer counts for little, and what it is compared to is the *baseline*,
//! which follows the lowest rounds at once and higher ones slowly.
//! - A round that used the limit and was not slow adds about a quarter of the limit's root.
//! - A round that is slower than the baseline by [`SLOW`], by [`OURS`] and by more than its own scatter explains (a queue
//!   grows), a round of which more than a third failed, or an [`Sample::Overload`] takes a fraction off; at most one decrease
//!   a round trip. After it the queue is gone, so the baseline is seen again.
//! - If latency does not fall with the limit, the limit was not to blame: the new latency becomes the baseline.
//!
//! At the start, and after [`ConcurrencyLimit::reset`], a few attempts may be under way, and each success adds one (doubling with
//! every round trip) until the former limit is reached or the API shows that it is too much; in both modes.
//!
//! # What holds, what not
//!
//! A limit that learns stays within its bounds but for the slow start below the floor, grows only when it is used, and
//! is not moved by rejected commands, nor by failures that come one by one: fewer in flight would not mend those. An API that
//! sheds load by failing, not by throttling, so keeps a quarter of its answers failing. It cannot tell a slow API from one that others load: it takes its share. With
//! very few attempts a second rounds take long, and so does learning.

use std::time::Duration;

/// How many may be under way before anything is known.
const FEW: f64 = 4.0;
/// A round has at least so many answers, since fewer tell little about the latency.
pub const ROUND_LEAST: u32 = 16;
/// A round is slow from so many times the baseline on: with a capacity of 64, about 16 wait in the API's queue then.
pub const SLOW: f64 = 1.25;
/// Slower by less than this may be our own machine's doing: it says nothing about the API.
pub const OURS: Duration = Duration::from_millis(10);
/// What a decrease leaves: less than `1 / SLOW`, so the queue that showed is gone after it.
const KEPT: f64 = 0.75;
/// How much of the way the baseline goes to a higher round; to a lower one it goes at a quarter, as one may be chance.
const BASELINE_UP: f64 = 0.005;
const BASELINE_DOWN: f64 = 0.25;

/// What an attempt tells about the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It was delivered: its latency counts.
    Delivered,
    /// Throttled: too much.
    Overload,
    /// Timed out, broke off, failed on the API's side: too much, if many do.
    Failed,
    /// Rejected, unauthorized: says nothing.
    Neutral,
}

/// The answers of about one round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    began: Duration,
    /// Those that were delivered.
    answers: u32,
    failures: u32,
    /// Sums of the logarithms of the latencies in seconds, and of their squares.
    logs: f64,
    squares: f64,
    /// As many as were allowed were under way.
    is_used: bool,
}

impl Round {
    fn at(now: Duration) -> Self {
        Self { began: now, ..Self::default() }
    }

    fn add(&mut self, latency: Duration) {
        let log = latency.as_secs_f64().max(1e-6).ln();
        self.answers += 1;
        self.logs += log;
        self.squares += log * log;
    }

    fn mean(&self) -> f64 {
        self.logs / f64::from(self.answers.max(1))
    }

    /// The geometric mean, seconds.
    fn latency_s(&self) -> f64 {
        self.mean().exp()
    }

    /// By what factor chance alone may make it slower: two standard errors.
    fn scatter(&self) -> f64 {
        let answers = f64::from(self.answers.max(1));
        let variance = (self.squares / answers - self.mean().powi(2)).max(0.0);
        (2.0 * (variance / answers).sqrt()).exp()
    }
}

/// What is known of the API's latency.
#[derive(Clone, Copy, Debug)]
struct Learned {
    baseline_s: f64,
    /// Since slow rounds made the limit fall: what it was before, and the highest latency.
    blamed: Option<(f64, f64)>,
}

/// How many attempts may be under way. Times are counted from some start.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    floor: f64,
    ceiling: f64,
    /// Within floor and ceiling.
    limit: f64,
    /// The slow start, while it lasts.
    ramp: Option<f64>,
    in_flight: usize,
    round: Round,
    /// The round before was used.
    was_used: bool,
    learned: Option<Learned>,
    /// What started before a decrease may fail by the old limit's fault: no further decrease before this.
    decreased_until: Duration,
}

impl ConcurrencyLimit {
    /// Always `n`, at least one, after the slow start.
    #[must_use]
    pub fn fixed(n: usize) -> Self {
        Self::adaptive(n, n)
    }

    /// Learns between the two, both at least one.
    #[must_use]
    pub fn adaptive(floor: usize, ceiling: usize) -> Self {
        let whole = |n: usize| f64::from(u32::try_from(n.max(1)).unwrap_or(u32::MAX));
        let (floor, ceiling) = (whole(floor), whole(ceiling).max(whole(floor)));
        Self {
            floor,
            ceiling,
            limit: ceiling,
            ramp: slow_start(ceiling),
            in_flight: 0,
            round: Round::default(),
            was_used: false,
            learned: None,
            decreased_until: Duration::ZERO,
        }
    }

    /// How many may be under way now.
    #[must_use]
    pub fn current(&self) -> usize {
        let limit = self.ramp.map_or(self.limit, |ramp| ramp.min(self.limit)).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
        let limit = limit as usize;
        limit
    }

    /// How many may be under way once the slow start is over.
    #[must_use]
    pub fn target(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
        let target = self.limit.max(1.0) as usize;
        target
    }

    /// How many are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more may start.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.current()
    }

    /// Starts slowly again, up to what was the limit: the gate opened, and nobody knows what the API can take now.
    pub fn restart(&mut self, now: Duration) {
        self.ramp = slow_start(self.limit);
        self.round = Round::at(now);
    }

    /// An attempt starts.
    pub fn start_attempt(&mut self, now: Duration) {
        if self.in_flight == 0 {
            self.round = Round::at(now);
        }
        self.in_flight += 1;
        self.round.is_used |= self.in_flight >= self.current();
    }

    /// An attempt ended after `latency`.
    pub fn finish_attempt(&mut self, now: Duration, latency: Duration, sample: Sample) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match sample {
            Sample::Neutral => {}
            Sample::Overload => self.decrease(now),
            Sample::Failed => {
                self.round.failures += 1;
                self.end_round_if_due(now, latency);
            }
            Sample::Delivered => {
                self.round.add(latency);
                if self.round.is_used || self.was_used {
                    self.climb();
                }
                self.end_round_if_due(now, latency);
            }
        }
    }

    fn end_round_if_due(&mut self, now: Duration, latency: Duration) {
        let trip = self.learned.map_or(latency, |learned| Duration::from_secs_f64(learned.baseline_s));
        let Round { began, answers, failures, .. } = self.round;
        if answers + failures < ROUND_LEAST || now.saturating_sub(began) < trip {
            return;
        }
        if failures * 2 > answers {
            self.decrease(now);
            self.round = Round::at(now);
        } else {
            self.end_round(now);
        }
    }

    /// One success of the slow start.
    fn climb(&mut self) {
        self.ramp = self.ramp.map(|ramp| ramp + 1.0).filter(|ramp| *ramp < self.limit);
    }

    fn end_round(&mut self, now: Duration) {
        let round = std::mem::replace(&mut self.round, Round::at(now));
        self.was_used = round.is_used;
        let latency_s = round.latency_s();
        let mut learned = self.learned.unwrap_or(Learned { baseline_s: latency_s, blamed: None });
        let is_slow = latency_s > learned.baseline_s * SLOW * round.scatter()
            && latency_s > learned.baseline_s + OURS.as_secs_f64();
        let share = if latency_s < learned.baseline_s { BASELINE_DOWN } else { BASELINE_UP };
        learned.baseline_s += share * (latency_s - learned.baseline_s);
        if is_slow {
            let limit = self.ramp.unwrap_or(self.limit);
            let (limit_then, latency_then_s) = learned.blamed.unwrap_or((limit, latency_s));
            learned.blamed = Some((limit_then, latency_then_s.max(latency_s)));
            if limit <= limit_then * KEPT * KEPT && latency_s > latency_then_s * 0.9 {
                learned = Learned { baseline_s: latency_s, blamed: None };
            } else {
                self.decrease(now);
            }
        } else {
            learned.blamed = None;
            if round.is_used && self.ramp.is_none() {
                self.limit = (self.limit + (self.limit.sqrt() / 4.0).max(1.0)).min(self.ceiling);
            }
        }
        self.learned = Some(learned);
    }

    /// Takes a fraction off what was in force, unless that was done a moment ago.
    fn decrease(&mut self, now: Duration) {
        if now < self.decreased_until {
            return;
        }
        let kept = self.ramp.unwrap_or(self.limit) * KEPT;
        self.limit = kept.clamp(self.floor, self.ceiling);
        self.ramp = self.ramp.map(|_| kept.max(1.0)).filter(|ramp| *ramp < self.limit);
        // The queue of those that are under way is served at the old pace first.
        let trip_s = self.learned.map_or(0.1, |learned| learned.baseline_s * 2.0);
        self.decreased_until = now.saturating_add(Duration::try_from_secs_f64(trip_s).unwrap_or_default());
        self.round = Round::at(now);
    }
}

/// Where it begins, below this limit.
fn slow_start(limit: f64) -> Option<f64> {
    Some(FEW).filter(|few| *few < limit)
}

#[cfg(test)]
mod tests;
