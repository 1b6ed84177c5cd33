//! The verdicts of the latest attempts, and the conditions of the circuit breaker and the brake.
//!
//! Throttled and unauthorized attempts are left out: they show neither the API's health nor wrong commands.

use std::{collections::VecDeque, time::Duration};

use super::verdict::Verdict;

/// The breaker evaluates the attempts of this time, or of [`TIMEOUTS_IN_WINDOW`] timeouts where that is longer, so that
/// it also trips on an API that hangs.
const MIN_BREAKER_WINDOW: Duration = Duration::from_secs(10);
const TIMEOUTS_IN_WINDOW: u32 = 3;
/// The least attempts in the window for the breaker to trip; small enough to trip right after a start.
const BREAKER_MIN_ATTEMPTS: u32 = 10;
/// The breaker also trips when this many different commands fail in a row, however much time lies between them.
const BREAKER_COMMANDS_IN_A_ROW: usize = 5;
/// The commands that are remembered as failed while the API answered others.
const MAX_SUSPECTS: usize = 1_000;
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
#[derive(Clone, Debug)]
pub struct AttemptWindow {
    length_s: u64,
    seconds: VecDeque<SecondOfAttempts>,
    /// The different commands that failed since the last answer about a command, without the suspects.
    failed_in_a_row: Vec<u64>,
    /// Commands that failed before the API answered another one: they may be what is wrong, not the API. Their retries
    /// are what remains at the end of a backlog, and must not count as a row there.
    suspects: VecDeque<u64>,
    /// For each of the latest attempts, whether it was rejected.
    rejected: VecDeque<bool>,
}

impl AttemptWindow {
    /// An empty window for attempts that take at most `api_timeout`.
    #[must_use]
    pub fn new(api_timeout: Duration) -> Self {
        let length = MIN_BREAKER_WINDOW.max(api_timeout.saturating_mul(TIMEOUTS_IN_WINDOW));
        Self {
            length_s: length.as_secs(),
            seconds: VecDeque::new(),
            failed_in_a_row: Vec::new(),
            suspects: VecDeque::new(),
            rejected: VecDeque::new(),
        }
    }

    /// Adds an attempt of the command with this identity that ended at `now`, a duration since a fixed start on a
    /// monotonic clock; drops old ones.
    pub fn add(&mut self, verdict: Verdict, command: u64, now: Duration) {
        if !verdict.counts_as_attempt() {
            return;
        }
        if self.rejected.len() == BRAKE_ATTEMPTS {
            self.rejected.pop_front();
        }
        self.rejected.push_back(verdict == Verdict::Rejected);
        let is_failure = matches!(verdict, Verdict::Retry | Verdict::Uncertain);
        self.add_to_row(is_failure, command);
        self.add_to_second(is_failure, now.as_secs());
    }

    fn add_to_row(&mut self, is_failure: bool, command: u64) {
        if !is_failure {
            self.suspects.extend(self.failed_in_a_row.drain(..));
            let excess = self.suspects.len().saturating_sub(MAX_SUSPECTS);
            self.suspects.drain(..excess);
        } else if self.failed_in_a_row.len() < BREAKER_COMMANDS_IN_A_ROW
            && !self.failed_in_a_row.contains(&command)
            && !self.suspects.contains(&command)
        {
            self.failed_in_a_row.push(command);
        }
    }

    fn add_to_second(&mut self, is_failure: bool, second: u64) {
        while self.seconds.front().is_some_and(|old| second.saturating_sub(old.second) >= self.length_s) {
            self.seconds.pop_front();
        }
        let failed = u32::from(is_failure);
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
        self.seconds.clear();
        self.failed_in_a_row.clear();
        self.suspects.clear();
        self.rejected.clear();
    }

    /// Whether at least half of the attempts in the window were retry or uncertain, or as many different commands in a
    /// row.
    #[must_use]
    pub fn trips_breaker(&self) -> bool {
        let failed: u32 = self.seconds.iter().map(|second| second.failed).sum();
        let total: u32 = self.seconds.iter().map(|second| second.total).sum();
        let most_failed = total >= BREAKER_MIN_ATTEMPTS && failed.saturating_mul(2) >= total;
        most_failed || self.failed_in_a_row.len() >= BREAKER_COMMANDS_IN_A_ROW
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
    const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

    fn later(s: u64) -> Duration {
        START + Duration::from_secs(s)
    }

    /// Attempts of one command.
    fn window(verdicts: impl IntoIterator<Item = Verdict>) -> AttemptWindow {
        let mut window = AttemptWindow::new(SHORT_TIMEOUT);
        verdicts.into_iter().for_each(|verdict| window.add(verdict, 0, START));
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
        (0..100).for_each(|_| window.add(Verdict::Retry, 0, later(9)));
        assert!(!window.trips_breaker(), "a minority of the window");
        (0..10).for_each(|_| window.add(Verdict::Retry, 0, later(10)));
        assert!(window.trips_breaker(), "successes outside the window do not count");
        window.add(Verdict::Delivered, 0, later(100));
        assert!(!window.trips_breaker(), "failures outside the window do not count");
    }

    #[test]
    fn breaker_window_is_three_timeouts_long() {
        let mut window = AttemptWindow::new(Duration::from_secs(30));
        (0..10).for_each(|n| window.add(Verdict::Uncertain, 0, later(n * 9)));
        assert!(window.trips_breaker(), "ten attempts in 81 s");
        window.add(Verdict::Delivered, 0, later(90 + 81));
        assert!(!window.trips_breaker(), "all others are older than 90 s");
    }

    #[test]
    fn breaker_trips_at_five_commands_in_a_row() {
        let mut window = window([]);
        let hours_later = |n: u64| later(n * 3_600);
        (1..5).for_each(|n| window.add(Verdict::Retry, n, hours_later(n)));
        window.add(Verdict::Retry, 4, hours_later(5));
        window.add(Verdict::Throttled, 5, hours_later(6));
        assert!(!window.trips_breaker(), "four different ones");
        window.add(Verdict::Uncertain, 5, hours_later(7));
        assert!(window.trips_breaker());
    }

    #[test]
    fn breaker_row_ends_with_an_answer_about_a_command() {
        for answer in [Verdict::Delivered, Verdict::Rejected] {
            let mut window = window([]);
            (1..5).for_each(|n| window.add(Verdict::Retry, n, START));
            window.add(answer, 5, START);
            (6..10).for_each(|n| window.add(Verdict::Retry, n, later(100)));
            assert!(!window.trips_breaker(), "{answer:?}");
        }
    }

    #[test]
    fn breaker_row_leaves_out_commands_that_failed_before_it() {
        let mut window = window([]);
        for bad in 1..100 {
            window.add(Verdict::Retry, bad, START);
            (0..9).for_each(|_| window.add(Verdict::Delivered, 1_000, START));
        }
        (1..100).for_each(|bad| window.add(Verdict::Retry, bad, START));
        assert!(!window.trips_breaker(), "the retries at the end of a backlog");
        (100..105).for_each(|new| window.add(Verdict::Retry, new, START));
        assert!(window.trips_breaker());
        window.clear();
        (1..6).for_each(|bad| window.add(Verdict::Retry, bad, START));
        assert!(window.trips_breaker(), "after an outage nothing is held against a command");
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
