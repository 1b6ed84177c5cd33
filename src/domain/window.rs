//! The verdicts of the latest attempts, and the conditions of the circuit breaker and the brake.
//!
//! Throttled and unauthorized attempts are left out: they show neither the API's health nor wrong commands.

use std::{collections::VecDeque, time::Duration};

use super::verdict::Verdict;

/// The seconds of attempts that the breaker evaluates. Not a number of attempts: in quiet times the latest ones are
/// retries of a few commands, which do not represent the others.
const BREAKER_WINDOW_S: u64 = 10;
/// The least attempts in the window for the breaker to trip; small enough to trip right after a start.
const BREAKER_MIN_ATTEMPTS: u32 = 10;
/// The latest attempts that the brake evaluates. A rejected command is not attempted again, so each is another command.
const BRAKE_ATTEMPTS: usize = 20;
/// The rejections among them that close the brake: this many mean a wrong deployment or path, not wrong commands.
const BRAKE_MIN_REJECTED: usize = 19;

/// The attempts that ended in one second.
#[derive(Clone, Copy, Debug)]
struct SecondOfAttempts {
    second: u64,
    failed: u32,
    total: u32,
}

/// The latest attempts.
#[derive(Clone, Debug, Default)]
pub struct AttemptWindow {
    seconds: VecDeque<SecondOfAttempts>,
    /// For each of the latest attempts, whether it was rejected.
    rejected: VecDeque<bool>,
}

impl AttemptWindow {
    /// Adds an attempt that ended at `now`, a duration since a fixed start on a monotonic clock; drops old ones.
    pub fn add(&mut self, verdict: Verdict, now: Duration) {
        if !verdict.counts_as_attempt() {
            return;
        }
        if self.rejected.len() == BRAKE_ATTEMPTS {
            self.rejected.pop_front();
        }
        self.rejected.push_back(verdict == Verdict::Rejected);
        let second = now.as_secs();
        self.seconds.retain(|old| second.saturating_sub(old.second) < BREAKER_WINDOW_S);
        let failed = u32::from(matches!(verdict, Verdict::Retry | Verdict::Uncertain));
        match self.seconds.back_mut() {
            Some(last) if last.second == second => {
                last.failed += failed;
                last.total += 1;
            }
            _ => self.seconds.push_back(SecondOfAttempts { second, failed, total: 1 }),
        }
    }

    /// Drops all attempts.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether at least half of the attempts in the window were retry or uncertain.
    #[must_use]
    pub fn trips_breaker(&self) -> bool {
        let failed: u32 = self.seconds.iter().map(|second| second.failed).sum();
        let total: u32 = self.seconds.iter().map(|second| second.total).sum();
        total >= BREAKER_MIN_ATTEMPTS && failed.saturating_mul(2) >= total
    }

    /// Whether nearly all of the latest attempts were rejected.
    #[must_use]
    pub fn pulls_brake(&self) -> bool {
        self.rejected.iter().filter(|rejected| **rejected).count() >= BRAKE_MIN_REJECTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn window(verdicts: impl IntoIterator<Item = Verdict>) -> AttemptWindow {
        let mut window = AttemptWindow::default();
        verdicts.into_iter().for_each(|verdict| window.add(verdict, START));
        window
    }

    #[test]
    fn breaker_trips_at_half_of_ten_attempts() {
        assert!(!window([Verdict::Retry; 9]).trips_breaker(), "too few attempts");
        assert!(window([Verdict::Retry; 10]).trips_breaker());
        assert!(window([Verdict::Uncertain; 10]).trips_breaker());
        let mixed = |failed| (0..20).map(move |n| if n < failed { Verdict::Retry } else { Verdict::Delivered });
        assert!(!window(mixed(9)).trips_breaker());
        assert!(window(mixed(10)).trips_breaker());
        assert!(!window([Verdict::Rejected; 20]).trips_breaker(), "rejections are no outage");
    }

    #[test]
    fn breaker_ignores_attempts_before_the_window() {
        let mut window = window([Verdict::Delivered; 1_000]);
        let later = |s| START + Duration::from_secs(s);
        (0..100).for_each(|_| window.add(Verdict::Retry, later(9)));
        assert!(!window.trips_breaker(), "a minority of the window");
        (0..10).for_each(|_| window.add(Verdict::Retry, later(10)));
        assert!(window.trips_breaker(), "successes outside the window do not count");
        window.add(Verdict::Delivered, later(100));
        assert!(!window.trips_breaker(), "failures outside the window do not count");
    }

    #[test]
    fn brake_closes_when_nearly_all_are_rejected() {
        assert!(!window([Verdict::Rejected; 18]).pulls_brake());
        assert!(window([Verdict::Rejected; 19]).pulls_brake());
        let mixed = [vec![Verdict::Rejected; 30], vec![Verdict::Delivered; 2]].concat();
        assert!(!window(mixed).pulls_brake());
    }

    #[test]
    fn window_ignores_throttled_and_unauthorized() {
        let ignored = [vec![Verdict::Throttled; 30], vec![Verdict::Unauthorized; 30]].concat();
        assert!(!window(ignored.clone()).trips_breaker() && !window(ignored).pulls_brake());
        let mut cleared = window([Verdict::Retry; 20]);
        cleared.clear();
        assert!(!cleared.trips_breaker());
    }
}
