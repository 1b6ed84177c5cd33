//! The last attempts, by what they proved: enough of one kind means that the trouble is not one command's own.

use std::{collections::VecDeque, time::Duration};

use super::verdict::Verdict;

/// The breaker looks at the attempts of so many seconds. Not at a number of attempts: the last ones of a calm time are
/// second and third attempts of a few commands, and say nothing about the others.
const BREAKER_S: u64 = 10;
/// From so many on, half of them failed means that the API is down; a cold start trips it, too.
const BREAKER_AT: u32 = 10;
/// The brake looks at so many attempts; a rejected command is not attempted again.
const BRAKE_LAST: usize = 20;
/// So many of them rejected means that a deploy or a path is wrong: real rejections are the exception.
const BRAKE_AT: usize = 19;

/// The attempts of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    second: u64,
    failed: u32,
    all: u32,
}

/// The last attempts that say something about the API: throttled and unauthorized ones do not.
#[derive(Clone, Debug, Default)]
pub struct AttemptWindow {
    seconds: VecDeque<Second>,
    /// Whether each was rejected.
    rejected: VecDeque<bool>,
}

impl AttemptWindow {
    /// Takes the verdict of an attempt in that ended `now`, counted from some start on a monotonic clock; what is too old goes.
    pub fn add(&mut self, verdict: Verdict, now: Duration) {
        if !verdict.counts_as_attempt() {
            return;
        }
        if self.rejected.len() == BRAKE_LAST {
            self.rejected.pop_front();
        }
        self.rejected.push_back(verdict == Verdict::Rejected);
        let second = now.as_secs();
        self.seconds.retain(|old| second.saturating_sub(old.second) < BREAKER_S);
        let failed = u32::from(matches!(verdict, Verdict::Retry | Verdict::Uncertain));
        match self.seconds.back_mut() {
            Some(last) if last.second == second => {
                last.failed += failed;
                last.all += 1;
            }
            _ => self.seconds.push_back(Second { second, failed, all: 1 }),
        }
    }

    /// Begins anew: what was before says nothing any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether so many attempts failed that more of them are of no use now.
    #[must_use]
    pub fn trips_breaker(&self) -> bool {
        let failed: u32 = self.seconds.iter().map(|second| second.failed).sum();
        let all: u32 = self.seconds.iter().map(|second| second.all).sum();
        all >= BREAKER_AT && failed.saturating_mul(2) >= all
    }

    /// Whether so many were rejected that the commands cannot be to blame.
    #[must_use]
    pub fn pulls_brake(&self) -> bool {
        self.rejected.iter().filter(|rejected| **rejected).count() >= BRAKE_AT
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
    fn the_breaker_trips_from_a_cold_start_and_at_a_half() {
        assert!(!window([Verdict::Retry; 9]).trips_breaker(), "too few to tell");
        assert!(window([Verdict::Retry; 10]).trips_breaker());
        assert!(window([Verdict::Uncertain; 10]).trips_breaker());
        let mixed = |failed| (0..20).map(move |n| if n < failed { Verdict::Retry } else { Verdict::Delivered });
        assert!(!window(mixed(9)).trips_breaker());
        assert!(window(mixed(10)).trips_breaker());
        assert!(!window([Verdict::Rejected; 20]).trips_breaker(), "an API that answers is not down");
    }

    #[test]
    fn the_breaker_looks_at_the_last_seconds_only() {
        let mut window = window([Verdict::Delivered; 1_000]);
        let later = |s| START + Duration::from_secs(s);
        (0..100).for_each(|_| window.add(Verdict::Retry, later(9)));
        assert!(!window.trips_breaker(), "a few of many, though the last");
        (0..10).for_each(|_| window.add(Verdict::Retry, later(10)));
        assert!(window.trips_breaker(), "the many are too old");
        window.add(Verdict::Delivered, later(100));
        assert!(!window.trips_breaker(), "and so are the failed");
    }

    #[test]
    fn the_brake_is_pulled_when_nearly_all_are_rejected() {
        assert!(!window([Verdict::Rejected; 18]).pulls_brake());
        assert!(window([Verdict::Rejected; 19]).pulls_brake());
        let last = [vec![Verdict::Rejected; 30], vec![Verdict::Delivered; 2]].concat();
        assert!(!window(last).pulls_brake());
    }

    #[test]
    fn only_those_count_that_say_something() {
        let mute = [vec![Verdict::Throttled; 30], vec![Verdict::Unauthorized; 30]].concat();
        assert!(!window(mute.clone()).trips_breaker() && !window(mute).pulls_brake());
        let mut cleared = window([Verdict::Retry; 20]);
        cleared.clear();
        assert!(!cleared.trips_breaker());
    }
}
