//! Tracks whether each command reaches exactly one outcome, the expected one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::plan::ExpectedOutcome;
use crate::{domain::reason::Reason, sync};

/// The messages received about one command.
struct TrackedCommand {
    expected: ExpectedOutcome,
    sent_at: Instant,
    events: Vec<String>,
    dead_letters: Vec<String>,
    time_to_event: Option<Duration>,
}

/// All commands of a demo, by index.
#[derive(Default)]
pub(super) struct OutcomeTracker {
    commands: BTreeMap<usize, TrackedCommand>,
    complete: usize,
    /// Messages that belong to no command.
    unmatched: usize,
}

/// A tracker that the publisher and the consumers share.
#[derive(Default)]
pub(super) struct SharedTracker(Mutex<OutcomeTracker>);

impl SharedTracker {
    pub(super) fn lock(&self) -> MutexGuard<'_, OutcomeTracker> {
        sync::lock(&self.0)
    }
}

/// One row of the summary.
pub(super) struct OutcomeRow {
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    pub(super) expected: usize,
    pub(super) reached: usize,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl TrackedCommand {
    fn is_complete(&self) -> bool {
        self.events.len() == usize::from(self.expected.event)
            && self.dead_letters.len() == usize::from(self.expected.reason.is_some())
    }

    fn is_correct(&self) -> bool {
        let reason = self.expected.reason.map(Reason::as_str);
        let outcome = self.expected.outcome().as_str();
        self.is_complete()
            && self.events.iter().all(|seen| seen == outcome)
            && self.dead_letters.iter().all(|seen| Some(seen.as_str()) == reason)
    }
}

impl OutcomeTracker {
    /// Records that a command is about to be published.
    pub(super) fn sent(&mut self, index: usize, expected: ExpectedOutcome) {
        let command = TrackedCommand {
            expected,
            sent_at: Instant::now(),
            events: Vec::new(),
            dead_letters: Vec::new(),
            time_to_event: None,
        };
        self.commands.insert(index, command);
    }

    /// Records an event. `index` is `None` if it belongs to no command.
    pub(super) fn event(&mut self, index: Option<usize>, outcome: &str) {
        self.update(index, |command| {
            command.events.push(outcome.to_owned());
            command.time_to_event = Some(command.sent_at.elapsed());
        });
    }

    /// Records a dead letter.
    pub(super) fn dead_letter(&mut self, index: Option<usize>, reason: &str) {
        self.update(index, |command| command.dead_letters.push(reason.to_owned()));
    }

    fn update(&mut self, index: Option<usize>, update: impl FnOnce(&mut TrackedCommand)) {
        let Some(command) = index.and_then(|index| self.commands.get_mut(&index)) else {
            self.unmatched += 1;
            return;
        };
        let before = command.is_complete();
        update(command);
        match (before, command.is_complete()) {
            (false, true) => self.complete += 1,
            (true, false) => self.complete -= 1,
            _ => {}
        }
    }

    /// The number of commands for which all expected messages were received.
    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// The number of commands without exactly one outcome, the expected one, plus messages that belong to no command.
    pub(super) fn wrong(&self) -> usize {
        self.commands.values().filter(|command| !command.is_correct()).count() + self.unmatched
    }

    /// One row for each outcome and reason that some command is expected to reach.
    pub(super) fn rows(&self) -> Vec<OutcomeRow> {
        let reasons = [None].into_iter().chain(Reason::ALL.map(Some));
        reasons.filter_map(|reason| self.row(reason)).collect()
    }

    fn row(&self, reason: Option<Reason>) -> Option<OutcomeRow> {
        let commands: Vec<_> = self.commands.values().filter(|command| command.expected.reason == reason).collect();
        let expected = commands.first()?.expected;
        Some(OutcomeRow {
            outcome: expected.outcome().as_str(),
            reason: reason.map_or("", Reason::as_str),
            expected: commands.len(),
            reached: commands.iter().filter(|command| command.is_correct()).count(),
            p50: percentile(commands.iter().filter_map(|command| command.time_to_event), 50),
            p99: percentile(commands.iter().filter_map(|command| command.time_to_event), 99),
        })
    }

    /// A percentile of the time from publishing a command to its event.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        percentile(self.commands.values().filter_map(|command| command.time_to_event), percent)
    }
}

fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Option<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: ExpectedOutcome = ExpectedOutcome { reason: None, event: true };
    const REJECTED: ExpectedOutcome = ExpectedOutcome { reason: Some(Reason::Rejected), event: true };
    const UNREADABLE: ExpectedOutcome = ExpectedOutcome { reason: Some(Reason::Malformed), event: false };

    fn tracker() -> OutcomeTracker {
        let mut tracker = OutcomeTracker::default();
        for (index, expected) in [SUCCESS, REJECTED, UNREADABLE].into_iter().enumerate() {
            tracker.sent(index, expected);
        }
        tracker
    }

    #[test]
    fn commands_with_one_expected_outcome_are_correct() {
        let mut tracker = tracker();
        assert_eq!((tracker.complete(), tracker.wrong()), (0, 3));
        tracker.event(Some(0), "succeeded");
        tracker.event(Some(1), "failed");
        assert_eq!((tracker.complete(), tracker.wrong()), (1, 2), "a dead letter is missing");
        tracker.dead_letter(Some(1), "rejected");
        tracker.dead_letter(Some(2), "malformed");
        assert_eq!((tracker.complete(), tracker.wrong()), (3, 0));
    }

    #[test]
    fn repeated_other_or_unmatched_outcomes_are_wrong() {
        let mut repeated = tracker();
        repeated.event(Some(0), "succeeded");
        repeated.event(Some(0), "succeeded");
        assert_eq!((repeated.complete(), repeated.wrong()), (0, 3));
        let mut other = tracker();
        other.event(Some(0), "failed");
        assert_eq!((other.complete(), other.wrong()), (1, 3));
        let mut unmatched = tracker();
        unmatched.event(None, "succeeded");
        assert_eq!(unmatched.wrong(), 4);
    }

    #[test]
    fn percentile_is_one_of_the_values() {
        let times = || (1..=100).map(Duration::from_millis);
        assert_eq!(percentile(times(), 50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(times(), 99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(times().take(1), 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(times().take(0), 99), None);
    }
}
