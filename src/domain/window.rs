//! The last attempts, by what they proved: enough of one kind means that the trouble is not one command's own.

use std::collections::VecDeque;

use super::verdict::Verdict;

/// How many attempts are looked at.
const LAST: usize = 20;
/// From so many on, half of them failed means that the API is down; a cold start trips it, too.
const BREAKER_AT: usize = 10;
/// So many of the last rejected means that a deploy or a path is wrong: real rejections are the exception.
const BRAKE_AT: usize = 19;

/// The verdicts of the last attempts that say something about the API: throttled and unauthorized ones do not.
#[derive(Clone, Debug, Default)]
pub struct Window {
    verdicts: VecDeque<Verdict>,
}

impl Window {
    /// Takes a verdict in; the oldest goes.
    pub fn add(&mut self, verdict: Verdict) {
        if !verdict.counts() {
            return;
        }
        if self.verdicts.len() == LAST {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back(verdict);
    }

    /// Begins anew: what was before says nothing any more.
    pub fn clear(&mut self) {
        self.verdicts.clear();
    }

    /// Whether so many attempts failed that more of them are of no use now.
    #[must_use]
    pub fn trips_breaker(&self) -> bool {
        let failed = self.count(|verdict| matches!(verdict, Verdict::Retry | Verdict::Uncertain));
        self.verdicts.len() >= BREAKER_AT && failed * 2 >= self.verdicts.len()
    }

    /// Whether so many were rejected that the commands cannot be to blame.
    #[must_use]
    pub fn pulls_brake(&self) -> bool {
        self.count(|verdict| verdict == Verdict::Rejected) >= BRAKE_AT
    }

    fn count(&self, wanted: impl Fn(Verdict) -> bool) -> usize {
        self.verdicts.iter().filter(|verdict| wanted(**verdict)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(verdicts: impl IntoIterator<Item = Verdict>) -> Window {
        let mut window = Window::default();
        verdicts.into_iter().for_each(|verdict| window.add(verdict));
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
    fn the_brake_is_pulled_when_nearly_all_are_rejected() {
        assert!(!window([Verdict::Rejected; 18]).pulls_brake());
        assert!(window([Verdict::Rejected; 19]).pulls_brake());
        let last = [vec![Verdict::Rejected; 30], vec![Verdict::Delivered; 2]].concat();
        assert!(!window(last).pulls_brake());
    }

    #[test]
    fn only_the_last_count_and_only_those_that_say_something() {
        let old = [vec![Verdict::Retry; 30], vec![Verdict::Delivered; 20]].concat();
        assert!(!window(old).trips_breaker());
        let mute = [vec![Verdict::Throttled; 30], vec![Verdict::Unauthorized; 30]].concat();
        assert!(!window(mute.clone()).trips_breaker() && !window(mute).pulls_brake());
        let mut cleared = window([Verdict::Retry; 20]);
        cleared.clear();
        assert!(!cleared.trips_breaker());
    }
}
